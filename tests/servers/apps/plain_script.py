"""A script without a server: `python plain_script.py WAY` does some work and ends in one of the ways below."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time

import streaming_dd as dd

ROWS = dd.Metric("plain.rows", "count", unit="row", help="Rows written.")
logger = logging.getLogger("plain")


@dd.task("reports.export")
async def export():
    await asyncio.sleep(0.01)
    return 5


@dd.task("reports.endless")
async def endless():
    await asyncio.Event().wait()


async def work():
    """Two tasks end, one goes on; return that one."""
    running = asyncio.create_task(endless())
    await export()
    await export()
    dd.increment(ROWS, 12)
    logger.warning("worked")
    return running


def say_ready():
    print("ready", file=sys.stderr, flush=True)  # noqa: T201 - the test waits for it


def end():
    asyncio.run(work())


def end_and_say_when():
    asyncio.run(work())
    print(f"ended at {time.monotonic()}", file=sys.stderr, flush=True)  # noqa: T201 - the test reads it


def exit_in_loop():
    async def main():
        running = await work()
        sys.exit(3 if not running.done() else 4)

    asyncio.run(main())


def fail():
    async def main():
        running = await work()
        raise RuntimeError(f"unhandled, {running.done()}")

    asyncio.run(main())


def wait_in_loop():
    async def main():
        running = await work()
        say_ready()
        await running

    asyncio.run(main())


def wait_in_thread():
    asyncio.run(work())
    say_ready()
    time.sleep(60)


def handle_itself():
    """The script's own handler, put there after everything else."""
    asyncio.run(work())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    say_ready()
    time.sleep(60)


def stop_loop():
    """The script's own handler in the loop, which ends in an orderly way."""

    async def main():
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        running = await work()
        say_ready()
        await told.wait()
        assert not running.done()
        dd.increment(ROWS, 30)

    asyncio.run(main())


def child():
    """A forked process that records too and ends in the way of multiprocessing."""
    import multiprocessing

    asyncio.run(work())
    process = multiprocessing.get_context("fork").Process(target=end)
    process.start()
    process.join()
    dd.increment(ROWS, 100)
    assert process.exitcode == 0


def fork():
    """A forked process that records too and ends by itself."""
    asyncio.run(work())
    pid = os.fork()
    if pid == 0:
        end()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    dd.increment(ROWS, 100)


def nothing():
    """Configured, but nothing was recorded: a management command, say."""


if __name__ == "__main__":
    dd.configure()
    globals()[sys.argv[1]]()
