"""A stream's consumer in a thread of its own: videos are encoded while the GPU makes what comes next."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
LOOK_SECONDS = 0.2  # how often a producer that waits looks whether its consumer still works


class Cut(Exception):
    """What a consumer's stream raises when its producer has failed: nothing of it may be kept."""


@contextlib.contextmanager
def feeding(consume: Callable[[Iterator[Item]], object], ahead: int = 64) -> Iterator[Callable[[Item], None]]:
    """`with feeding(consume) as feed: feed(item)` runs `consume(items)` beside the block.

    The items come in order; a producer that is more than `ahead` of them in front waits. Leaving the block ends the
    stream and waits for the consumer; where the block raises, the stream raises Cut. What the consumer raises is raised
    by the next `feed`, or at the end. One that returns early is not asked for more.
    """
    items: queue.Queue = queue.Queue(ahead)
    cut, done, failed = threading.Event(), threading.Event(), []

    def stream() -> Iterator[Item]:
        while True:
            kept = items.get()
            if cut.is_set():
                raise Cut
            if not kept:
                return
            yield kept[0]

    def work() -> None:
        try:
            consume(stream())
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    def put(kept: tuple) -> None:
        while not done.is_set():
            with contextlib.suppress(queue.Full):
                items.put(kept, timeout=LOOK_SECONDS)
                return
        if failed and not cut.is_set():
            raise failed[0]

    thread = threading.Thread(target=work, name="consumer")
    thread.start()
    try:
        yield lambda item: put((item,))
        put(())
    except BaseException:
        cut.set()
        put(())
        raise
    finally:
        thread.join()
    if failed:
        raise failed[0]
