"""The server stops and starts again at the same address."""

from kit import GIVEN, PLAN, Person, client, equal, run, title_of, until, watch, your_turn


async def scenario():
    member = await Person.signed_in(GIVEN["member"]["email"])
    author = await Person.signed_in(GIVEN["author"]["email"])
    phone, own = client(token=member.token)
    _, plan = await watch(phone, f"plan:{PLAN['id']}")
    await phone.connect()
    await until("both snapshots", lambda: len(own.subscribed) == 1 and len(plan.subscribed) == 1)

    await your_turn("restart")
    await author.retitle("after the restart")
    await until("the change", lambda: len(plan.publication) >= 1)
    equal([title_of(p) for p in plan.publication], ["after the restart"])
    equal(own.connecting[1].code, 3001)
    equal((len(plan.subscribed), plan.subscribed[1].recovered), (2, True))
    equal((len(own.subscribed), own.subscribed[1].recovered), (2, True))
    equal((own.disconnected, plan.unsubscribed, own.publication), ([], [], []))
    await phone.disconnect()


run(scenario)
