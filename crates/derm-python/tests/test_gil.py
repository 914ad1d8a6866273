"""Other threads go on, and Ctrl-C ends a list."""

import signal
import sys
import threading
import time

import numpy as np
import pytest


def test_the_gil_is_released(classifier, example):
    """This thread runs while the other one is inside `explain`: where that held the GIL, it would be seen there at
    most in the moments before and after the work."""

    def work():
        classifier.explain(example, "scorecam")

    thread = threading.Thread(target=work)
    thread.start()
    seen = 0
    while thread.is_alive():
        frame = sys._current_frames().get(thread.ident)
        seen += frame is not None and frame.f_code is work.__code__
        time.sleep(0.001)
    assert seen >= 20


@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_ends_a_list(classifier, workers):
    pictures = [np.zeros((64, 64, 3), np.uint8)] * 2_000
    # A shell starts what runs in the background with this signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            classifier.predict(pictures, workers=workers)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
