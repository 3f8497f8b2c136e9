"""`python -m deployments.stack.variants`: the deployments of prefect.yaml for containers, one file a kind of pool.

The files differ from prefect.yaml in what a container needs: its folder, its pool with the image, and a platform that
is not started on the spot, since the image holds no engine. A test holds them to what this makes.
"""

from __future__ import annotations

import sys
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import yaml  # type: ignore[import-untyped]  # Prefect brings it

from deployments.stack.parts import POOL, ROOT
from tasks.core.files import write_text

APP = "/app"
MEDIA = "/media"
_IMAGE = "{{ $DARKROOM_IMAGE }}"


@dataclass(frozen=True)
class Variant:
    """How deployments for containers differ from those of prefect.yaml.

    Attributes:
        name: of the file, ``deployments/prefect-<name>.yaml``.
        about: comment at its head.
        pool: name of the work pool.
        platform: in place of ``embedded``.
        source: in place of the samples; ``None``: whoever starts a run says it.
        job: the work pool's job variables.
    """

    name: str
    about: str
    pool: str
    platform: str
    source: str | None
    job: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """Its file, as seen from the project's folder."""
        return f"deployments/prefect-{self.name}.yaml"

    def text(self) -> str:
        """What its file holds."""
        original = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
        folder = {"prefect.deployments.steps.set_working_directory": {"directory": APP}}
        changed = {
            **{name: value for name, value in original.items() if name != "deployments"},
            "pull": [folder],
            "deployments": [self._changed(deployment) for deployment in original["deployments"]],
        }
        body: str = yaml.safe_dump(changed, sort_keys=False, width=120, allow_unicode=True)
        made = "# Made from prefect.yaml by `python -m deployments.stack.variants`: change it there.\n"
        return made + "".join(f"# {line}\n" for line in self.about.strip().splitlines()) + body

    def _changed(self, original: dict[str, Any]) -> dict[str, Any]:
        deployment = deepcopy(original)
        deployment["work_pool"] = {"name": self.pool} | ({"job_variables": deepcopy(self.job)} if self.job else {})
        parameters = deployment.get("parameters", {})
        if parameters.get("platform") == "embedded":
            parameters["platform"] = self.platform
        if self.source is not None and "source" in parameters:
            parameters["source"] = self.source
        elif "source" in parameters:
            del parameters["source"]
        return deployment


VARIANTS = (
    Variant(
        "compose",
        "The worker of deployments/compose.yaml, which is a container itself; its one-shot `deploy` reads this file.",
        pool=POOL,
        platform="block:local",
        source=MEDIA,
    ),
    Variant(
        "docker",
        """
A container for each flow run. The worker runs where Docker is, with prefect-docker beside Prefect:
  prefect work-pool create darkroom-docker --type docker
  darkroom setup --block roboflow                       # from ROBOFLOW_API_KEY
  DARKROOM_IMAGE=darkroom:latest DARKROOM_MEDIA=/srv/media \\
    prefect --no-prompt deploy --prefect-file deployments/prefect-docker.yaml --all
  prefect worker start --pool darkroom-docker
""",
        pool="darkroom-docker",
        platform="block:roboflow",
        source=MEDIA,
        job={
            "image": _IMAGE,
            "image_pull_policy": "IfNotPresent",
            "volumes": ["darkroom-runs:/data", "{{ $DARKROOM_MEDIA }}:/media:ro"],
        },
    ),
    Variant(
        "kubernetes",
        """
A Kubernetes job for each flow run. Runs lie in a bucket, whose credentials come from the pod's service account:
  prefect work-pool create darkroom-kubernetes --type kubernetes
  darkroom setup --block roboflow                       # from ROBOFLOW_API_KEY
  DARKROOM_IMAGE=registry/darkroom:latest DARKROOM_RUNS=s3://bucket/runs \\
    prefect --no-prompt deploy --prefect-file deployments/prefect-kubernetes.yaml --all
  prefect worker start --pool darkroom-kubernetes       # in the cluster, with prefect-kubernetes
Only you know the bucket whose images `nightly` is to process: until it has a source, its schedule must stay off. With
the two variables as above, this gives it one, which a later `deploy --all` takes away again:
  prefect --no-prompt deploy --prefect-file deployments/prefect-kubernetes.yaml --name nightly \\
    --param source=s3://bucket/photos
""",
        pool="darkroom-kubernetes",
        platform="block:roboflow",
        source=None,
        job={
            "image": _IMAGE,
            "image_pull_policy": "IfNotPresent",
            "finished_job_ttl": 3600,
            "env": {"DARKROOM_RUNS": "{{ $DARKROOM_RUNS }}"},
        },
    ),
)


def main() -> int:
    """Writes the files."""
    for variant in VARIANTS:
        write_text(ROOT / variant.file, variant.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
