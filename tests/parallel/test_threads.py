import subprocess
import sys

from threadpoolctl import threadpool_info, threadpool_limits

from forecaster.parallel import threads


def numbers():
    return {its["num_threads"] for its in threadpool_info()}


def test_libraries_work_on_one_thread_within_and_on_theirs_after():
    for _ in range(2):
        with threadpool_limits(2):
            with threads.one():
                assert numbers() == {1}
            assert numbers() == {2}


def test_a_library_that_is_imported_later_does_too():
    script = """if True:
        import numpy
        from threadpoolctl import threadpool_info, threadpool_limits
        from forecaster.parallel import threads

        with threads.one():
            before = len(threadpool_info())
        import scipy.linalg
        with threadpool_limits(2), threads.one():
            now = [its["num_threads"] for its in threadpool_info()]
        print(len(now) > before, set(now))
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "True {1}\n", done.stderr
