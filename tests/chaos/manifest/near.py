from arint import Context, service


@service
async def near(call: dict, ctx: Context) -> dict:
    answer = {**call, "doubled": call["number"] * 2}
    ctx.send("flow/asked", answer)
    return answer
