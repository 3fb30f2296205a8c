# moto's S3 on one port of the loopback interface, one request at a time.
import io
import sys
import threading

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

moto = DomainDispatcherApplication(create_backend_app)
turn = threading.Lock()


def app(request, start_response):
    if request.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked":
        body = request["wsgi.input"].read()
    else:
        wanted = int(request.get("CONTENT_LENGTH") or 0)
        body = request["wsgi.input"].read(wanted)
        # A client that went away in the middle of a body: moto would store what came.
        if len(body) != wanted:
            start_response("400 Bad Request", [("Content-Length", "0")])
            return [b""]
    request["wsgi.input"] = io.BytesIO(body)
    request["CONTENT_LENGTH"] = str(len(body))
    request.pop("HTTP_TRANSFER_ENCODING", None)
    request["wsgi.input_terminated"] = True
    # moto looks at a condition and writes in two acts; alone they are one.
    with turn:
        return [b"".join(moto(request, start_response))]


run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True)
