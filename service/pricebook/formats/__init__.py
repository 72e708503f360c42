"""Django's own formats of instants and days (FORMAT_MODULE_PATH), as `kit/figures.py` has them."""
