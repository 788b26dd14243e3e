"""The same with asyncio: a closing interrupts the payment where it waits, and Withheld comes out of the block."""

import asyncio

from failshut import Gate, Withheld

refunds = Gate("payments.refund")


async def pay(amount_eur: float) -> str:
    try:
        async with refunds.execution(subject="agent:refund-7") as execution:
            await asyncio.sleep(0.1)  # the slow part: here it is cancelled when the gate closes
            return f"paid {amount_eur:.2f} EUR, fencing token {execution.epoch}"
    except Withheld as denial:
        return f"not paid: {denial}"


async def main() -> None:
    await asyncio.to_thread(refunds.prepare, 1.0)
    print(await pay(48.0))


if __name__ == "__main__":
    asyncio.run(main())
