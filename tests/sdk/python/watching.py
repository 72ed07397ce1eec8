"""Snapshots, a live change, and fifty changes while offline."""

from kit import GIVEN, PLAN, Person, client, equal, run, title_of, until, watch


async def scenario():
    member = await Person.signed_in(GIVEN["member"]["email"])
    author = await Person.signed_in(GIVEN["author"]["email"])
    phone, own = client(token=member.token)
    _, plan = await watch(phone, f"plan:{PLAN['id']}")
    await phone.connect()

    await until("both snapshots", lambda: len(own.subscribed) == 1 and len(plan.subscribed) == 1)
    equal(own.subscribed[0].channel, f"member:{GIVEN['member']['account']}")
    equal(own.subscribed[0].data["follow"]["plan_id"], PLAN["id"])
    equal(own.subscribed[0].data["completions"], {})
    first = plan.subscribed[0]
    equal((first.recoverable, first.positioned, first.was_recovering), (True, True, False))
    equal(first.data["plan"]["id"], PLAN["id"])
    [day] = first.data["days"].values()
    equal(day["meals"][PLAN["meal"]]["title"], PLAN["title"])

    await author.retitle("live")
    await until("the live change", lambda: len(plan.publication) == 1)
    equal(plan.publication[0].pub.data["type"], "meal.updated")
    equal(title_of(plan.publication[0]), "live")
    assert plan.publication[0].pub.offset > first.stream_position.offset

    await phone.disconnect()
    await until("being offline", lambda: len(own.disconnected) == 1)
    for n in range(1, 51):
        await author.retitle(f"n {n}")
        if n == 25:
            await member.tick("eaten")
    await phone.connect()
    await until("the missed publications", lambda: len(plan.publication) >= 51 and len(own.publication) >= 1)
    await author.retitle("afterwards")
    await until("a change after the recovery", lambda: len(plan.publication) >= 52)

    equal([title_of(p) for p in plan.publication[1:]], [f"n {n}" for n in range(1, 51)] + ["afterwards"])
    offsets = [p.pub.offset for p in plan.publication]
    assert all(before < after for before, after in zip(offsets, offsets[1:])), offsets
    equal(len(plan.subscribed), 2)
    equal((plan.subscribed[1].was_recovering, plan.subscribed[1].recovered), (True, True))
    equal(plan.subscribed[1].data, None)
    equal((own.subscribed[1].was_recovering, own.subscribed[1].recovered), (True, True))
    equal([p.pub.data["type"] for p in own.publication], ["meal.completed"])
    equal((own.error, plan.error, plan.unsubscribed), ([], [], []))
    await phone.disconnect()


run(scenario)
