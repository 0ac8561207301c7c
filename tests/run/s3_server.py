"""An S3 server on a free loopback port, with the bucket that the tests use, until its input ends.

Usage: s3_server.py FILE; its address is written to FILE once it answers.
"""

import os
import sys
import urllib.request

from moto.server import ThreadedMotoServer


def main(address_file: str) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(urllib.request.Request(f"{address}/clawhand-test", method="PUT"), timeout=10).close()
    with open(address_file + ".part", "w", encoding="utf-8") as file:
        file.write(address)
    os.replace(address_file + ".part", address_file)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main(sys.argv[1])
