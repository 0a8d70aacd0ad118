from arint import service


@service
async def double(order: dict) -> dict:
    return {**order, "doubled": order["number"] * 2}
