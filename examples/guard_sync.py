"""A guarded side effect in ten lines. FAILSHUT_STORE and FAILSHUT_JWKS say where permits and keys are."""

from failshut import Gate, Withheld

refunds = Gate("payments.refund")


def pay(amount_eur: float) -> str:
    try:
        with refunds.execution(subject="agent:refund-7") as execution:
            return f"paid {amount_eur:.2f} EUR, fencing token {execution.epoch}"
    except Withheld as denial:
        return f"not paid: {denial}"


if __name__ == "__main__":
    refunds.prepare(seconds=1.0)
    print(pay(48.0))
