"""Threads, subprocesses, fork and mmap, as Python programs use them."""
import mmap
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor


def threads():
    total = [0]
    lock = threading.Lock()

    def add(number):
        block = bytearray(50_000)
        for at in range(0, len(block), 4096):
            block[at] = number % 256
        with lock:
            total[0] += sum(block) + number

    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(add, range(200)))
    print("threads", total[0])


def children():
    outputs = [
        subprocess.run([sys.executable, "-c", f"print({n} ** 20)"], capture_output=True, text=True).stdout
        for n in range(2, 5)
    ]
    print("children", [text.strip() for text in outputs])
    piped = subprocess.Popen(["sort", "-r"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    print("piped", piped.communicate("a\nc\nb\n")[0].split())


def fork():
    data = [n * n for n in range(50_000)]
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        data[10] = -1
        os.write(writer, str(sum(data)).encode())
        os._exit(7)
    os.close(writer)
    text = os.read(reader, 100).decode()
    _, status = os.waitpid(pid, 0)
    print("fork", text, sum(data), os.waitstatus_to_exitcode(status))


def mapped():
    with tempfile.TemporaryFile() as file:
        file.truncate(1 << 20)
        with mmap.mmap(file.fileno(), 0) as view:
            view[5000:5005] = b"hello"
            view.flush()
            file.seek(5000)
            print("mapped", file.read(5), view.find(b"hello"))
    with mmap.mmap(-1, 1 << 16) as shared:
        if os.fork() == 0:
            shared[100] = 42
            os._exit(0)
        os.wait()
        print("shared", shared[100])


threads()
children()
fork()
mapped()
print("sum", sum(range(10**6)))
