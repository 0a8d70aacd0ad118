from hashlib import sha256

from arint import Context, service


@service
def digest(scan: bytes, ctx: Context) -> dict:
    return {"number": int(ctx.message.headers["x-number"]), "digest": sha256(scan).hexdigest()}
