"""gcp-storage-emulator on the port of the first argument, in memory, with a bucket `records`.

One thing is put right that Google's own service does otherwise: an object uploaded without a content type gets one, where
the emulator answers null.
"""

import sys
from functools import wraps

from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.server import create_server

make = objects._make_object_resource


@wraps(make)
def make_with_type(base_url, bucket_name, object_name, content_type, *rest, **named):
    """As before, with the type that Google gives."""
    return make(base_url, bucket_name, object_name, content_type or "application/octet-stream", *rest, **named)


objects._make_object_resource = make_with_type
create_server("127.0.0.1", int(sys.argv[1]), True, default_bucket="records").run()
