#!/usr/bin/env python3
"""STOP handler: incoming text messages, and who no longer wants any.

    stop_handler.py --brand main --region TR --port 8080

A gateway posts each incoming message as JSON to /incoming:

    {"id": "mo-8812", "from": "+905321234567", "text": "İPTAL"}

A message that says stop is recorded as a withdrawal for the whole channel. No
recipient type is stated, which means both: the person does not say in which
role they are tired of us. 200 is answered only once the withdrawal is durable
and in force; on anything else the gateway must post the message again, which is
safe, because its id is the event's key.

Replies to the person are not part of this. Run it behind something that
authenticates the gateway: whoever may post here may withdraw for anybody.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sendgate import Actor, Client, RejectedError, SendgateError
from stop_words import says_stop

#: Bytes of a posted message; ten concatenated text messages have a tenth.
LARGEST_BODY = 64 << 10


class BadMessage(ValueError):
    """What was posted is no message."""


def read_message(body: bytes) -> tuple[str, str, str]:
    """The id, the sender and the text."""
    try:
        message = json.loads(body)
    except ValueError as error:
        raise BadMessage(f"this is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise BadMessage("this is not a JSON object")
    fields: list[str] = []
    for name in ("id", "from", "text"):
        value = message.get(name)
        if not isinstance(value, str):
            raise BadMessage(f"the field {name} is missing, or no text")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadMessage(f"the field {name} holds half a character") from None
        fields.append(value)
    if not fields[0]:
        # Without one, a message that is posted twice could not be told from two.
        raise BadMessage("the field id is empty")
    return fields[0], fields[1], fields[2]


class StopHandler:
    """Withdraws for those who say stop."""

    def __init__(self, client: Client, brand: str, channel: str, region: str) -> None:
        self._client = client
        self._brand = brand
        self._channel = channel
        self._region = region

    def handle(self, body: bytes) -> str:
        """What became of one message. Returns only once it is recorded."""
        message_id, sender, text = read_message(body)
        if not says_stop(text):
            return "ignored"
        try:
            self._client.withdraw(
                sender,
                brand=self._brand,
                channel=self._channel,
                region=self._region,
                source="stop message",
                actor=Actor("customer"),
                # Hashed, because a key has 128 bytes at most.
                event_key="stop:" + hashlib.sha256(message_id.encode()).hexdigest(),
            )
        except RejectedError as error:
            if error.results[0].code == "INVALID_ADDRESS":
                # Posting it again would not help: somebody has to look.
                raise BadMessage(str(error)) from error
            raise
        return "withdrawn"


def request_handler(stop: StopHandler) -> type[BaseHTTPRequestHandler]:
    """The HTTP side."""

    class Handler(BaseHTTPRequestHandler):
        #: A gateway that stalls does not hold a thread for ever.
        timeout = 30

        def do_POST(self) -> None:
            if self.path != "/incoming":
                return self._answer(HTTPStatus.NOT_FOUND, error="post to /incoming")
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > LARGEST_BODY:
                return self._answer(
                    HTTPStatus.BAD_REQUEST, error="Content-Length is wrong"
                )
            try:
                outcome = stop.handle(self.rfile.read(int(length)))
            except BadMessage as error:
                return self._answer(HTTPStatus.UNPROCESSABLE_ENTITY, error=str(error))
            except SendgateError as error:
                # Also where the server refuses us, for a token or a brand that is
                # wrong here: once that is mended, the message must come again.
                return self._answer(HTTPStatus.SERVICE_UNAVAILABLE, error=str(error))
            return self._answer(HTTPStatus.OK, outcome=outcome)

        def _answer(self, status: HTTPStatus, **fields: Any) -> None:
            body = json.dumps(fields).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            if status is not HTTPStatus.OK:
                print(
                    f"stop_handler: {status.value}: {fields['error']}", file=sys.stderr
                )

        def log_message(self, format: str, *args: Any) -> None:
            """Requests are not logged: they are about people."""

    return Handler


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Records a withdrawal for those who say stop."
    )
    parser.add_argument("--brand", default="main")
    parser.add_argument("--channel", default="sms")
    parser.add_argument(
        "--region", default="", help="region of national phone spellings, such as TR"
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="of the loopback; 0 takes a free one"
    )
    parser.add_argument(
        "--target", help="the server; by default what SENDGATE_ENDPOINT says"
    )
    args = parser.parse_args()
    with Client(args.target) as client:
        stop = StopHandler(client, args.brand, args.channel, args.region)
        with ThreadingHTTPServer(
            ("127.0.0.1", args.port), request_handler(stop)
        ) as server:
            print(
                f"listening on http://127.0.0.1:{server.server_port}/incoming",
                flush=True,
            )
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                pass


if __name__ == "__main__":
    main()
