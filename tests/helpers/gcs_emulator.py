"""python gcs_emulator.py PORT: the emulator of PyPI, with what it lacks.

That is conditions on the generation of an object, by which TensorStore tells whether
what it read has changed since, and moving an object, by which gcsfs renames.
"""

import http
import sys

from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects


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


def move(request, response, storage):
    """Copies an object within its bucket and deletes it under its old name."""
    request.params["dest_bucket_name"] = request.params["bucket_name"]
    objects.copy(request, response, storage)
    if response.status == http.HTTPStatus.OK:
        objects.delete(request, response, storage)


if __name__ == "__main__":
    # Before the other paths of objects, which match these too.
    moved = r"(/storage/v1)?/b/(?P<bucket_name>[^/]+)/o/(?P<object_id>.+)/moveTo/o/"
    server.HANDLERS = (
        (rf"{moved}(?P<dest_object_id>.+)", {"POST": move}),
        *server.HANDLERS,
    )
    for _, methods in server.HANDLERS:
        methods |= {name: conditional(handler) for name, handler in methods.items()}
    server.create_server("127.0.0.1", int(sys.argv[1]), True, "bucket").run()
