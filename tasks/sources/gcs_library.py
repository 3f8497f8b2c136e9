"""Google's library, imported without its notice that it will drop Python 3.11 in 2027, which no user can act on.

It would also ask for each bucket's metadata, for traces that nobody switched on: a request, and a permission, more.
"""

from __future__ import annotations

import os
import warnings

os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "You are using a Python version .* google.api_core", FutureWarning)
    from google.api_core import exceptions as api_errors
    from google.api_core.retry import Retry
    from google.cloud import storage
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from google.cloud.storage.retry import DEFAULT_RETRY

__all__ = ["DEFAULT_RETRY", "DataCorruption", "InvalidResponse", "Retry", "api_errors", "storage"]
