"""Celery: a gate before the body of a task.

    @app.task(base=GuardedTask, gate=Gate("payments.refund"), subject="service:refunds", retry_seconds=30)
    def refund(order): ...

A task that is withheld fails with `Withheld`, and its body does not run. With `retry_seconds` it is retried instead, as
`max_retries` allows. The check is in `__call__`, because Celery swallows an exception of a `task_prerun` receiver and runs the
task. Whatever fails in `subject` fails the task. Limit: `task.run(...)` calls the body itself, and bypasses any hook.
"""

from __future__ import annotations

from typing import Any

from celery import Task

from failshut.gate import Gate
from failshut.hooks.naming import Naming, named
from failshut.withheld import Withheld


class GuardedTask(Task):
    """The base of tasks that run inside an execution of their gate. `subject` may be a function of the task's request."""

    abstract = True
    gate: Gate | None = None
    subject: Naming = ""
    retry_seconds: float | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body, if the gate admits it. Raises Withheld, or Celery's Retry."""
        if self.gate is None:
            raise TypeError(f"{self.name} is a GuardedTask without a gate: nothing was executed")
        entered = False
        try:
            with self.gate.execution(named(self._subject(), self.request)):
                entered = True
                return super().__call__(*args, **kwargs)
        except Withheld as denial:
            if entered or self.retry_seconds is None:
                raise
            raise self.retry(exc=denial, countdown=self.retry_seconds) from denial

    @classmethod
    def _subject(cls) -> Naming:
        """Return what was given: a function that is an attribute of a class would else become its method."""
        found: Naming = cls.__dict__.get("subject", cls.subject)
        return found
