"""python gcs_emulator.py PORT: the emulator of PyPI, with what TensorStore needs of it.

The emulator knows no conditions on the generation of an object, by which TensorStore
tells whether what it read has changed since; here they are.
"""

import http
import sys

from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import NotFound


def generation(storage, params, query):
    """Of the object that a request is about; "0" for none, as the API has it."""
    name = params.get("object_id") or query.get("name", [""])[0]
    try:
        return storage.get_file_obj(params["bucket_name"], name)["generation"]
    except (NotFound, KeyError):
        return "0"


def conditional(handler):
    """The handler of a request, only called where its conditions hold."""

    def handle(request, response, storage):
        about = (storage, request.params, request.query)
        before = generation(*about)
        if request.query.get("ifGenerationMatch", [before])[0] != before:
            response.status = http.HTTPStatus.PRECONDITION_FAILED
        elif request.query.get("ifGenerationNotMatch", [""])[0] == before:
            response.status = http.HTTPStatus.NOT_MODIFIED
        else:
            handler(request, response, storage)
        response["x-goog-generation"] = generation(*about)

    return handle


if __name__ == "__main__":
    for _, methods in server.HANDLERS:
        methods |= {name: conditional(handler) for name, handler in methods.items()}
    server.create_server("127.0.0.1", int(sys.argv[1]), True, "bucket").run()
