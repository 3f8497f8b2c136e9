"""What a batch server is set up with: one frozen value, made once at the start."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from deployments.batch_server.plan import Feature
from deployments.batch_server.refusals import NotIncluded

DAY = 24 * 3600.0


@dataclass(frozen=True)
class ServerSettings:
    """Everything the application reads about its surroundings."""

    data: Path
    """Folder of the database, the blobs and the secrets."""
    api_key: SecretStr
    """The one key that clients present as the query parameter `api_key`."""
    url_secret: SecretStr
    """What signed URLs are signed with; never the API key, which clients know."""
    workspace: str = "local"
    """Name of the only workspace; it is part of every path."""
    public_url: str | None = None
    """Base of signed URLs; `None`: the scheme and host of the request that asks for one."""
    url_lifetime: float = 3600.0
    """Seconds for which a signed URL may be used."""
    batch_lifetime: float = 7 * DAY
    """Seconds from a batch's creation to its expiry date (the contract's seven days)."""
    chunk_limit: int = 64
    """Most images in one processing task."""
    lines_per_file: int = 50_000
    """Most lines in one file of aggregated results."""
    most_jobs: int | None = None
    """Most jobs under way at once; `None`: as many as there are."""
    left_out: frozenset[Feature] = frozenset()
    """What this server does not offer: asking for it is answered with 402."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts that files may be fetched from though they are not public: names, addresses, networks. They may be reached
    over plain http and on any port."""

    def require(self, feature: Feature, advice: str) -> None:
        """See that a feature is part of the plan.

        Raises:
            NotIncluded: It is left out; the message ends with the advice.
        """
        if feature in self.left_out:
            raise NotIncluded(f"this server's plan does not include {feature}: {advice}")

    @property
    def blobs(self) -> Path:
        """Folder of what clients uploaded."""
        return self.data / "blobs"

    @property
    def jobs(self) -> Path:
        """Folder of what jobs made, one folder a job."""
        return self.data / "jobs"

    @property
    def own_workflows(self) -> Path:
        """Folder of the user's workflow definitions."""
        return self.data / "workflows"
