"""Shared by the scenarios: people, REST, a client of the official SDK, and a log of its events."""

import asyncio
import json
import os
import sys
import time
import urllib.error
import urllib.request

from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler

# The input from the Rust test: the server's address, people, plans.
GIVEN = json.loads(os.environ["SCENARIO"])
PLAN = GIVEN.get("plan")


class Person:
    """A person as a client of the REST API."""

    def __init__(self, session):
        self.session = session

    @classmethod
    async def signed_in(cls, email):
        return cls(await cls({}).call("POST", "/auth/login", {"email": email, "password": GIVEN["password"]}))

    @property
    def token(self):
        return self.session.get("access_token")

    async def refresh(self):
        """Refreshes the session and returns the next access token."""
        self.session = await self.call("POST", "/auth/refresh", {"refresh_token": self.session["refresh_token"]})
        return self.token

    async def call(self, method, path, body=None, headers=None):
        return await asyncio.to_thread(self._call, method, path, body, headers or {})

    def _call(self, method, path, body, headers):
        headers = {"Content-Type": "application/json", **headers}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{GIVEN['address']}/api/v1{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=15) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error

    async def retitle(self, title):
        """Changes the title of the plan's meal: one change of the plan."""
        path = f"/plans/{PLAN['id']}/days/1/meals/{PLAN['meal']}"
        written = await self.call("PATCH", path, {"title": title}, {"If-Match": f'"{PLAN["version"]}"'})
        PLAN["version"] = written["version"]

    async def tick(self, status):
        path = f"/meals/{PLAN['meal']}/completions/{GIVEN['date']}"
        return await self.call("PUT", path, {"status": status})


class _Log:
    """The events of a client or a subscription, by name, in order."""

    def __init__(self):
        self.connecting, self.connected, self.disconnected, self.error = [], [], [], []
        self.subscribing, self.subscribed, self.unsubscribed, self.publication = [], [], [], []


def _listener(base):
    def listen(event):
        async def on_event(self, ctx):
            getattr(self, event).append(ctx)

        return on_event

    events = [name.removeprefix("on_") for name in vars(base) if name.startswith("on_")]
    return type(f"Logged{base.__name__}", (_Log, base), {f"on_{e}": listen(e) for e in events if e not in ("join", "leave")})


ClientLog = _listener(ClientEventHandler)
SubscriptionLog = _listener(SubscriptionEventHandler)


def client(address=None, **options):
    """Creates a client without connecting it; returns it with its log."""
    log = ClientLog()
    address = f"ws://{address or GIVEN['address']}/connection/websocket"
    return Client(address, log, min_reconnect_delay=0.05, max_reconnect_delay=0.5, proxy=None, **options), log


async def watch(connection, channel):
    """Subscribes; returns the subscription and its log."""
    log = SubscriptionLog()
    subscription = connection.new_subscription(channel, log)
    await subscription.subscribe()
    return subscription, log


async def until(what, condition, within_s=15):
    """Polls a condition until it holds; `what` names what is awaited."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"timed out waiting for: {what}")
        await asyncio.sleep(0.005)


def equal(left, right, what=""):
    assert left == right, f"{what}\n{left!r}\nis not\n{right!r}"


def title_of(publication):
    """The title that a publication of the plan gives its meal."""
    [day] = publication.pub.data["patch"]["days"].values()
    return day["meals"][PLAN["meal"]]["title"]


async def your_turn(cue):
    """Gives the Rust test a cue and waits until it has acted."""
    print(f"cue {cue}", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


def run(scenario):
    asyncio.run(scenario())
