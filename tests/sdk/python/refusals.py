"""Channels and commands that this member has no right to; the connection survives every refusal."""

from centrifuge import ReplyError
from kit import GIVEN, PLAN, Person, client, equal, run, until, watch


async def scenario():
    member = await Person.signed_in(GIVEN["member"]["email"])
    phone, own = client(token=member.token)
    await phone.connect()
    await until("a connection", lambda: len(own.connected) == 1 and len(own.subscribed) == 1)

    async def refusal(channel):
        subscription, log = await watch(phone, channel)
        await until(f"an answer for {channel}", lambda: len(log.unsubscribed) + len(log.subscribed) == 1)
        equal(log.subscribed, [], channel)
        phone.remove_subscription(subscription)
        return log.unsubscribed[0].code, log.unsubscribed[0].reason

    for refused in GIVEN["refused"]:
        equal((await refusal(refused["channel"]))[0], refused["code"], refused["channel"])
    for foreign, missing in GIVEN["indistinguishable"]:
        equal(await refusal(foreign), await refusal(missing), foreign)

    async def fails(code, call):
        try:
            await call
        except ReplyError as error:
            equal(error.code, code, str(error))
        else:
            raise AssertionError(f"no error {code}")

    await fails(103, phone.publish(f"plan:{PLAN['id']}", {"patch": {}}))
    await fails(103, phone.publish(f"member:{GIVEN['member']['account']}", {"patch": {}}))
    await fails(104, phone.rpc("meal.delete", {}))
    await fails(108, phone.presence(f"plan:{PLAN['id']}"))

    _, plan = await watch(phone, f"plan:{PLAN['id']}")
    await until("the own plan", lambda: len(plan.subscribed) == 1)
    equal((len(own.connected), own.disconnected, own.publication), (1, [], []))
    await phone.disconnect()

    stranger, log = client(token=f"{member.token[:-8]}AAAAAAAA")
    await stranger.connect()
    await until("the end of a forged token", lambda: len(log.disconnected) == 1)
    equal(log.disconnected[0].code, 3500)


run(scenario)
