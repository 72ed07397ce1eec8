"""Sends a command with an idempotency key more than once."""

import asyncio

from centrifuge import ReplyError
from kit import GIVEN, PLAN, Person, client, equal, run, until


async def scenario():
    member = await Person.signed_in(GIVEN["member"]["email"])
    phone, own = client(token=member.token)
    await phone.connect()
    await until("a connection", lambda: len(own.subscribed) == 1)

    command = {"key": "tick", "meal_id": PLAN["meal"], "date": GIVEN["date"], "status": "eaten"}
    first, twin = await asyncio.gather(phone.rpc("meal.complete", command), phone.rpc("meal.complete", command))
    equal(first.data["completion"]["status"], "eaten")
    equal(first.data["progress"]["meals_done"], 1)
    equal(twin.data, first.data)
    await phone.disconnect()
    await phone.connect()
    await until("a second connection", lambda: len(own.subscribed) == 2)
    equal((await phone.rpc("meal.complete", command)).data, first.data)
    try:
        await phone.rpc("meal.complete", {**command, "status": "skipped"})
    except ReplyError as error:
        equal(error.code, 1423, str(error))
    else:
        raise AssertionError("a key was accepted for another command")

    undone = await phone.rpc("meal.undo", {"key": "undo", "meal_id": PLAN["meal"], "date": GIVEN["date"]})
    assert "completion" not in undone.data, undone.data
    # The answer stored under a key does not change, and a repeat has no effect.
    equal((await phone.rpc("meal.complete", command)).data, first.data)
    await until("the undo", lambda: len(own.publication) >= 2)
    equal([p.pub.data["type"] for p in own.publication], ["meal.completed", "meal.undone"])
    today = await member.call("GET", "/follows/today")
    equal([meal["status"] for meal in today["meals"]], ["open"])
    await phone.disconnect()


run(scenario)
