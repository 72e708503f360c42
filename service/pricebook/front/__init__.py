"""Between the web server and Django: waits for clients, so that no thread has to."""
