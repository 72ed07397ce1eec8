"""Several kinds of revocation, each with its own client: it stays, stops for good, or reconnects once and stays."""

import asyncio

from centrifuge import ClientState
from kit import GIVEN, Person, client, equal, run, until, watch, your_turn


class Case:
    def __init__(self, given):
        self.name, self.expected, self.given, self.refreshes = given["name"], given["expected"], given, 0

    async def open(self):
        person = await Person.signed_in(self.given["email"])

        async def get_token():
            self.refreshes += 1
            return await person.refresh()

        renews = {"get_token": get_token} if self.given["renews"] else {}
        self.phone, self.own = client(address=self.given["address"], token=person.token, **renews)
        channels = [self.given[name] for name in ("roster", "member") if self.given.get(name)]
        self.channels = [(await watch(self.phone, channel))[1] for channel in channels]
        await self.phone.connect()
        watching = lambda: len(self.own.connected) == 1 and all(len(log.subscribed) == 1 for log in self.channels)
        await until(f"{self.name} watches", watching)

    async def ends(self):
        own, channels = self.own, self.channels
        if self.expected == "stays":
            await until(f"{self.name}: the end of the channel", lambda: len(channels[1].unsubscribed) == 1)
        elif self.expected == "returns":
            back = lambda: len(own.connected) == 2 and len(channels[0].subscribed) == 2
            await until(f"{self.name}: a second connection", back)
        else:
            await until(f"{self.name}: the end", lambda: len(own.disconnected) == 1)

    def rests(self):
        own = self.own
        counts = (len(own.connected), len(own.disconnected), self.refreshes)
        if self.expected == "stays":
            equal(counts, (1, 0, 0), self.name)
            equal([ctx.code for ctx in self.channels[1].unsubscribed], [2000], self.name)
            equal(self.channels[0].unsubscribed, [], self.name)
        elif self.expected == "returns":
            equal(counts, (2, 0, 1), self.name)
            equal(own.connecting[1].code, 3014, self.name)
            equal(self.phone.state, ClientState.CONNECTED, self.name)
        else:
            equal(counts, (1, 1, 0), self.name)
            equal(self.phone.state, ClientState.DISCONNECTED, self.name)


async def scenario():
    cases = [Case(given) for given in GIVEN["cases"]]
    for case in cases:
        await case.open()
    await your_turn("all watch")
    for case in cases:
        await case.ends()
    await your_turn("all have ended")
    for case in cases:
        if case.expected != "stops":
            await until(f"{case.name}: news", lambda: len(case.channels[0].publication) >= 1)
    # Gives a client that keeps reconnecting the time to show it.
    await asyncio.sleep(1.5)
    for case in cases:
        case.rests()
    await your_turn("all are at rest")
    # A client that connects again after the end is refused again, once.
    stopped = [case for case in cases if case.expected == "stops"]
    for case in stopped:
        await case.phone.connect()
    for case in stopped:
        await until(f"{case.name}: a second end", lambda: len(case.own.disconnected) == 2)
    await asyncio.sleep(1.5)
    for case in stopped:
        equal((len(case.own.connected), case.phone.state), (1, ClientState.DISCONNECTED), case.name)
    await your_turn("all were told again")


run(scenario)
