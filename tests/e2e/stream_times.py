# SPDX-License-Identifier: Apache-2.0
"""When the events of endless streams come, noted by a process that does nothing else.

Usage: stream_times.py PORT COUNT OUT. Opens COUNT streams at once, says "ready" when
all of them flow, follows them until its standard input ends, and writes the moments of
time.monotonic() to OUT as JSON, a list for each stream. Standard library only.
"""

import json
import selectors
import socket
import sys
import time

# Left alone, Gosling soon draws nothing but the end of text, which shows in no event.
BODY = json.dumps({"prompt": "User: Echo: blue kite\n\nAssistant:", "ignore_eos": True,
                   "max_tokens": 65536, "stream": True,
                   "logit_bias": {"0": -100}}).encode()
REQUEST = (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
           b"Content-Length: %d\r\n\r\n" % len(BODY)) + BODY
EVENTS_AT_FIRST = 5


def main():
    port, count, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    selector = selectors.DefaultSelector()
    times = [[] for _ in range(count)]
    for number in range(count):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(REQUEST)
        selector.register(connection, selectors.EVENT_READ, times[number])
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    announced = False
    while True:
        for key, _ in selector.select():
            if key.data is None:
                with open(path, "w", encoding="ascii") as out:
                    json.dump(times, out)
                return 0
            if not key.fileobj.recv(1 << 16):
                return 1
            key.data.append(time.monotonic())
        if not announced and all(len(each) > EVENTS_AT_FIRST for each in times):
            announced = True
            print("ready", flush=True)


if __name__ == "__main__":
    sys.exit(main())
