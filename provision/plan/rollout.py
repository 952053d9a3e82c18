"""Which image is the current one, and which one there is to go back to."""

from __future__ import annotations

from provision.plan.cuda import Cuda
from provision.plan.dependencies import Dependencies
from provision.plan.promise import Promise
from provision.record import record
from provision.spec import Spec


@record
class Rollout:
    """``tag`` follows from the lock: another lock is another image. ``previous_tag`` is the one before, kept to go back to."""

    repository: str
    tag: str
    previous_tag: str
    labels: dict[str, str]

    @classmethod
    def desire(cls, spec: Spec, cuda: Cuda, dependencies: Dependencies, previous: Rollout | None) -> Rollout:
        """Planning again after applying keeps ``previous_tag``: only another tag moves it."""
        tag = f"{cuda.accelerator}-{dependencies.lock_sha256[:12]}"
        if previous is None or previous.repository != spec.image.repository:
            back = ""
        else:
            back = previous.previous_tag if previous.tag == tag else previous.tag
        return cls(repository=spec.image.repository, tag=tag, previous_tag=back, labels=dict(spec.image.labels))

    @property
    def image(self) -> str:
        """``repository:tag``."""
        return f"{self.repository}:{self.tag}"

    def promises(self) -> tuple[Promise, ...]:
        """The same prompts give the same tokens: without that no two versions could be compared."""
        return (Promise(code="ROL-P1"),)
