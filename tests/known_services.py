"""What botocore knows of Amazon's services: megabytes of JSON, which it reads for each session anew."""

from functools import cache

import botocore.session


def know_services_once() -> None:
    """Has all sessions of this process, and of its forks, share what the first one reads."""
    botocore.session.create_loader = cache(botocore.session.create_loader)
    botocore.session.Session().create_client("s3", region_name="us-east-1")
