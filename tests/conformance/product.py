"""The Python SDK in its Protobuf mode as a screen of the product: snapshot, live change, recovery, refusals."""

import asyncio
import json
import os
import urllib.request

from centrifuge import Client, ClientEventHandler, ReplyError, SubscriptionEventHandler

GIVEN = json.loads(os.environ["GIVEN"])
CHANNEL = f"plan:{GIVEN['plan']}"


class Screen(SubscriptionEventHandler):
    def __init__(self):
        self.subscribed, self.publications, self.refused = [], [], []

    async def on_subscribed(self, ctx):
        self.subscribed.append(ctx)

    async def on_publication(self, ctx):
        self.publications.append((ctx.pub.offset, json.loads(ctx.pub.data)))

    async def on_unsubscribed(self, ctx):
        self.refused.append(ctx.code)


async def until(what, condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"timed out waiting for {what}")


def retitle(title):
    """Changes the title of the plan's meal over REST."""
    path = f"http://{GIVEN['address']}/api/v1/plans/{GIVEN['plan']}/days/1/meals/{GIVEN['meal']}"
    headers = {
        "Authorization": f"Bearer {GIVEN['token']}",
        "Content-Type": "application/json",
        "If-Match": f'"{GIVEN["version"]}"',
    }
    request = urllib.request.Request(path, json.dumps({"title": title}).encode(), headers, method="PATCH")
    with urllib.request.urlopen(request, timeout=15) as answer:
        GIVEN["version"] = json.load(answer)["version"]


async def scenario():
    async def token():
        return GIVEN["token"]

    client = Client(
        f"ws://{GIVEN['address']}/connection/websocket",
        events=ClientEventHandler(),
        use_protobuf=True,
        get_token=token,
    )
    screen = Screen()
    subscription = client.new_subscription(CHANNEL, events=screen)
    await client.connect()
    await subscription.subscribe()
    await until("the snapshot", lambda: screen.subscribed)
    first = screen.subscribed[0]
    assert isinstance(first.data, bytes) and json.loads(first.data), first
    assert not first.was_recovering and first.stream_position.epoch, first

    await asyncio.to_thread(retitle, "Ñoquis")
    await until("the change", lambda: screen.publications)
    offset, event = screen.publications[0]
    assert event["type"] == "meal.updated" and offset > first.stream_position.offset, event

    await client.disconnect()
    for number in range(20):
        await asyncio.to_thread(retitle, f"away {number}")
    await client.connect()
    await until("the missed publications", lambda: len(screen.publications) == 21)
    again = screen.subscribed[1]
    assert again.was_recovering and again.recovered, again
    offsets = [offset for offset, _ in screen.publications]
    assert offsets == sorted(set(offsets)), offsets
    titles = [str(event["patch"]) for _, event in screen.publications[1:]]
    assert all(f"away {number}" in title for number, title in enumerate(titles)), titles

    for ask, code in ((subscription.presence, 108), (subscription.presence_stats, 108), (subscription.history, 108)):
        try:
            await ask()
        except ReplyError as error:
            assert error.code == code, error
        else:
            raise AssertionError(f"{ask} was answered")
    try:
        await subscription.publish(b"{}")
    except ReplyError as error:
        assert error.code == 103, error
    else:
        raise AssertionError("a member published")

    stranger = Screen()
    await client.new_subscription("plan:nothing", events=stranger).subscribe()
    await until("a refusal", lambda: stranger.refused)
    assert stranger.refused == [102], stranger.refused
    await client.disconnect()


asyncio.run(scenario())
