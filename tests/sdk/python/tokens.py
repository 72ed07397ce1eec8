"""A token that expires while connected, and one that had expired before the connect."""

from kit import GIVEN, PLAN, Person, client, equal, run, title_of, until, watch


async def scenario():
    member = await Person.signed_in(GIVEN["member"]["email"])
    author = await Person.signed_in(GIVEN["author"]["email"])
    refreshes = []

    async def get_token():
        refreshes.append(await member.refresh())
        return refreshes[-1]

    phone, own = client(token=member.token, get_token=get_token)
    _, plan = await watch(phone, f"plan:{PLAN['id']}")
    await phone.connect()
    await until("three more tokens", lambda: len(refreshes) >= 3)
    await author.refresh()
    await author.retitle("after three tokens")
    await until("the change", lambda: len(plan.publication) == 1)
    equal(title_of(plan.publication[0]), "after three tokens")
    command = {"meal_id": PLAN["meal"], "date": GIVEN["date"], "status": "eaten"}
    equal((await phone.rpc("meal.complete", command)).data["completion"]["status"], "eaten")
    equal((len(own.connecting), len(own.connected), own.disconnected, own.error), (1, 1, [], []))
    equal((len(own.subscribed), len(plan.subscribed), len(plan.subscribing)), (1, 1, 1))
    await phone.disconnect()

    refreshes.clear()
    late, log = client(token=GIVEN["expired"], get_token=get_token)
    await late.connect()
    await until("a connection", lambda: len(log.connected) == 1)
    equal([ctx.error.code for ctx in log.error], [109])
    equal((len(refreshes), log.disconnected), (1, []))
    await late.disconnect()


run(scenario)
