"""The unmodified `openai` package against a running server, and the server against kill -9.

    python tests/e2e/test_openai_client.py path/to/framewright [--device cpu|fake]

Starts the binary with an empty data directory on a free port, makes a key with the command line, and runs every check below in order.
The first failure ends the run with its traceback and the end of the server's log; the exit status is 0 only when all passed.
"""

import argparse
import base64
import json
import struct
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
import zlib
from pathlib import Path

import openai

from server import JOB_SECONDS, Server

# The package calls every method of `videos` deprecated, since one provider of it ends.
warnings.filterwarnings("ignore", message="The Sora API is scheduled", category=DeprecationWarning)

MODEL = "demo-sdxl"
VIDEO_MODEL = "demo-svd"
PROMPT = "a large red circle on a blue background"


def png_chunks(data):
    """The chunks of a PNG file, every check sum verified."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n", "not a PNG file"
    at, chunks = 8, []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (check_sum,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        assert zlib.crc32(kind + body) == check_sum, f"{kind}: wrong check sum"
        chunks.append((kind, body))
        at += 12 + length
    assert chunks[0][0] == b"IHDR" and chunks[-1][0] == b"IEND"
    return chunks


def png_size(data):
    return struct.unpack(">II", dict(png_chunks(data))[b"IHDR"][:8])


def png_texts(data):
    texts = {}
    for kind, body in png_chunks(data):
        if kind == b"tEXt":
            keyword, _, text = body.partition(b"\0")
            texts[keyword.decode("latin-1")] = text.decode("latin-1")
        elif kind == b"iTXt":
            keyword, _, rest = body.partition(b"\0")
            is_compressed, rest = rest[0], rest[2:]
            _, _, rest = rest.partition(b"\0")
            _, _, text = rest.partition(b"\0")
            texts[keyword.decode("latin-1")] = (zlib.decompress(text) if is_compressed else text).decode("utf-8")
    return texts


def raises(kind, action):
    try:
        action()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected and nothing was raised")


def check_models_are_listed(_server, client, _key):
    models = client.models.list().data
    assert MODEL in [model.id for model in models], models
    assert all(model.object == "model" for model in models)
    assert client.models.retrieve(MODEL).id == MODEL


def check_base64(_server, client, _key):
    answer = client.images.generate(model=MODEL, prompt=PROMPT, n=1, response_format="b64_json")
    (image,) = answer.data
    data = base64.b64decode(image.b64_json, validate=True)
    assert min(png_size(data)) >= 64
    assert answer.created > 1_500_000_000


def check_url_needs_no_key(server, client, _key):
    answer = client.images.generate(model=MODEL, prompt=PROMPT, response_format="url")
    url = answer.data[0].url
    assert url.startswith(server.address), url
    with urllib.request.urlopen(url, timeout=60) as response:
        assert response.headers["content-type"] == "image/png"
        assert png_size(response.read())
    # Any other token is refused.
    changed = url[:-1] + ("A" if url[-1] != "A" else "B")
    error = raises(urllib.error.HTTPError, lambda: urllib.request.urlopen(changed, timeout=60))
    assert error.code in (401, 403), error.code


def check_two_pictures_differ(_server, client, _key):
    answer = client.images.generate(model=MODEL, prompt=PROMPT, n=2, response_format="b64_json")
    first, second = (base64.b64decode(image.b64_json) for image in answer.data)
    assert first != second


def check_stream_has_the_asked_partials(_server, client, _key):
    stream = client.images.generate(model=MODEL, prompt=PROMPT, stream=True, partial_images=2)
    events = list(stream)
    kinds = [event.type for event in events]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"], kinds
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    for event in events:
        assert png_size(base64.b64decode(event.b64_json))


def check_stream_without_partials(_server, client, _key):
    kinds = [event.type for event in client.images.generate(model=MODEL, prompt=PROMPT, stream=True, partial_images=0)]
    assert kinds == ["image_generation.completed"], kinds


def first_picture(client):
    """A picture of the prompt, as the bytes of a PNG file."""
    answer = client.images.generate(model=MODEL, prompt=PROMPT, response_format="b64_json", extra_body={"seed": 1})
    return base64.b64decode(answer.data[0].b64_json)


def check_edits(_server, client, _key):
    picture = first_picture(client)
    prompt = "a small white square on a red background"
    answer = client.images.edit(
        model=MODEL, image=("first.png", picture, "image/png"), prompt=prompt, n=2, response_format="b64_json",
        input_fidelity="high", extra_body={"strength": 0.5, "seed": 2},
    )
    edited = [base64.b64decode(image.b64_json) for image in answer.data]
    assert len({picture, *edited}) == 3, "each differs"
    assert [png_size(data) for data in edited] == [png_size(picture)] * 2, "the size is the picture's own"
    assert answer.size == "{}x{}".format(*png_size(picture)) and answer.output_format == "png", answer.size

    # The same in JSON, which the package cannot send by itself.
    image = {"image_url": f"data:image/png;base64,{base64.b64encode(picture).decode()}"}
    body = {"model": MODEL, "images": [image], "prompt": prompt, "n": 2, "strength": 0.5, "seed": 2}
    again = client.post("/images/edits", body=body, cast_to=openai.types.ImagesResponse)
    with urllib.request.urlopen(again.data[0].url, timeout=60) as response:
        assert png_chunks(response.read())[1:] and again.size == answer.size

    stream = client.images.edit(model=MODEL, image=[picture], prompt=prompt, stream=True, partial_images=1)
    kinds = [event.type for event in stream]
    assert kinds == ["image_edit.partial_image", "image_edit.completed"], kinds

    error = raises(openai.BadRequestError, lambda: client.images.edit(model=MODEL, image=[picture, picture], prompt=prompt))
    assert error.param == "image" and "2 pictures" in error.message, error
    error = raises(openai.BadRequestError, lambda: client.images.edit(model=MODEL, image=b"GIF89a", prompt=prompt))
    assert error.param == "image", error


def check_variations(_server, client, _key):
    picture = first_picture(client)
    answer = client.images.create_variation(image=picture, model=MODEL, n=2, response_format="b64_json", size="128x128")
    first, second = (base64.b64decode(image.b64_json) for image in answer.data)
    assert first != second and png_size(first) == png_size(second) == (128, 128)


def linked(content):
    """What a Markdown link in an answer leads to."""
    address = content.split("](", 1)[1].removesuffix(")")
    with urllib.request.urlopen(address, timeout=60) as response:
        return response.read()


def check_chat(_server, client, _key):
    picture = first_picture(client)
    said = [{"role": "system", "content": "You draw."}, {"role": "user", "content": PROMPT}]
    answer = client.chat.completions.create(model=MODEL, messages=said, temperature=0.5, max_completion_tokens=100, seed=1)
    (choice,) = answer.choices
    assert choice.finish_reason == "stop" and choice.message.role == "assistant" and answer.usage.total_tokens == 0, answer
    assert choice.message.content.startswith("![picture](http"), choice.message.content
    assert png_size(linked(choice.message.content))

    url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    said = [{"role": "user", "content": [{"type": "text", "text": PROMPT}, {"type": "image_url", "image_url": {"url": url}}]}]
    chunks = list(client.chat.completions.create(model=MODEL, messages=said, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[-1].usage.total_tokens == 0, chunks
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert png_size(linked(text)) == png_size(picture)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"

    answer = client.chat.completions.create(
        model=VIDEO_MODEL, messages=[{"role": "user", "content": PROMPT}], extra_body={**QUICK, "num_frames": 2, "size": "16:9"}
    )
    assert boxes(linked(answer.choices[0].message.content))[0] == b"ftyp"

    tools = [{"type": "function", "function": {"name": "draw", "parameters": {}}}]
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(model=MODEL, messages=said, tools=tools))
    assert error.param == "tools", error


def check_film_as_a_task(server, client, key):
    body = {"model": VIDEO_MODEL, "prompt": PROMPT, **QUICK}
    submitted = server.call("POST", "/v1/images/generations", key, body)
    assert submitted["status"] == "submitted" and submitted["created"] > 1_500_000_000, submitted
    request = urllib.request.Request(f"{server.address}/v1/tasks/{submitted['task_id']}/stream")
    request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=JOB_SECONDS) as stream:
        lines = [line.decode().removeprefix("data: ").strip() for line in stream if line.startswith(b"data: ")]
    assert lines.pop() == "[DONE]", lines
    told = [json.loads(line) for line in lines]
    assert all(event["status"] == "processing" and 0 <= event["progress"] < 100 for event in told[:-1]), told
    assert told[-1]["status"] == "completed", told[-1]
    with urllib.request.urlopen(told[-1]["url"], timeout=60) as response:
        assert boxes(response.read())[0] == b"ftyp"
    client.videos.delete(submitted["task_id"])


def check_errors_are_typed(server, client, _key):
    stranger = openai.OpenAI(base_url=f"{server.address}/v1", api_key="fw_" + "A" * 43, max_retries=0)
    error = raises(openai.AuthenticationError, stranger.models.list)
    assert error.status_code == 401 and error.code == "invalid_api_key", error

    error = raises(openai.NotFoundError, lambda: client.images.generate(model="no-such-model", prompt=PROMPT))
    assert "no-such-model" in error.message and error.param == "model", error

    for size in ("7x7", "100000x100000", "0x0", "big"):
        error = raises(openai.BadRequestError, lambda size=size: client.images.generate(model=MODEL, prompt=PROMPT, size=size))
        assert error.param == "size", (size, error)

    # After all of them a good request still succeeds.
    assert client.images.generate(model=MODEL, prompt=PROMPT).data


def check_pictures_say_what_made_them(server, _client, key):
    body = {"model": MODEL, "prompt": PROMPT, "seed": 11, "num_inference_steps": 4}
    task = server.call("POST", "/api/v1/images/generate", key, body)["task_id"]
    done = server.wait_for(task, key, lambda document: document["status"] == "completed", "completed")
    (output,) = done["result"]["outputs"]
    data = (server.data / "outputs" / output["local_path"]).read_bytes()
    texts = png_texts(data)
    assert PROMPT in texts["parameters"] and "Steps: 4" in texts["parameters"] and "Seed: 11" in texts["parameters"]
    manifest = json.loads(texts["framewright"])
    assert manifest["seed"] == 11 and manifest["model"] == MODEL and "device" in manifest, manifest
    with urllib.request.urlopen(done["result"]["thumbnail"], timeout=60) as response:
        assert response.read(2) == b"\xff\xd8", "the thumbnail is a JPEG"


def check_command_line_on_the_server(server, _client, key):
    picture = server.directory / "remote.png"
    server.run(
        "generate", "image", "--model", MODEL, "--prompt", PROMPT, "--steps", "4", "--seed", "11", "--output", str(picture),
        "--server", server.address, "--api-key", key,
    )
    assert png_size(picture.read_bytes())


# Few steps: what a film looks like is not tried here.
QUICK = {"num_inference_steps": 2, "seed": 11}


def boxes(data):
    """The names of an MP4 file's outermost boxes, in their order."""
    at, names = 0, []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        names.append(data[at + 4 : at + 8])
        assert length >= 8, names
        at += length
    return names


def check_video_from_a_prompt(_server, client, _key):
    video = client.videos.create_and_poll(
        model=VIDEO_MODEL, prompt=f"{PROMPT} [Push in]", seconds="1", size="192x128", poll_interval_ms=200,
        extra_body={**QUICK, "fps": 12},
    )
    assert video.status == "completed" and video.progress == 100, video
    assert (video.object, video.model, video.seconds, video.size) == ("video", VIDEO_MODEL, "1", "192x128"), video
    assert video.prompt == PROMPT and video.completed_at >= video.created_at > 1_500_000_000, video

    film = client.videos.download_content(video.id)
    assert film.response.headers["content-type"] == "video/mp4"
    data = film.read()
    names = boxes(data)
    assert names[0] == b"ftyp" and names.index(b"moov") < names.index(b"mdat"), f"{names}: plays while it loads"
    for variant in ("thumbnail", "spritesheet"):
        picture = client.videos.download_content(video.id, variant=variant)
        assert picture.response.headers["content-type"] == "image/jpeg" and picture.read()[:2] == b"\xff\xd8", variant
    part = client.videos.download_content(video.id, extra_headers={"Range": "bytes=4-7"})
    assert part.read() == b"ftyp"


def check_video_from_a_picture(_server, client, _key):
    answer = client.images.generate(model=MODEL, prompt=PROMPT, response_format="b64_json")
    picture = base64.b64decode(answer.data[0].b64_json)
    video = client.videos.create(
        model=VIDEO_MODEL, prompt="", input_reference=("first.png", picture, "image/png"), extra_body={**QUICK, "num_frames": 4},
    )
    assert video.status in ("queued", "in_progress") and video.remixed_from_video_id is None, video
    while video.status in ("queued", "in_progress"):
        assert video.progress < 100
        time.sleep(0.2)
        video = client.videos.retrieve(video.id)
    assert video.status == "completed", video.error
    assert boxes(client.videos.download_content(video.id).read())[0] == b"ftyp"

    error = raises(
        openai.BadRequestError,
        lambda: client.videos.create(model=VIDEO_MODEL, prompt="x", input_reference=("first.png", b"GIF89a", "image/png")),
    )
    assert error.param == "input_reference", error
    address = {"image_url": f"data:image/png;base64,{base64.b64encode(picture).decode()}"}
    # The package takes only files for this field, whatever its types say.
    body = {**QUICK, "num_frames": 2, "input_reference": address}
    video = client.videos.create(model=VIDEO_MODEL, prompt="x", extra_body=body)
    assert client.videos.poll(video.id, poll_interval_ms=200).status == "completed"


def check_videos_are_listed_remixed_extended_and_removed(server, client, _key):
    videos = [video.id for video in client.videos.list(limit=1)]
    # The oldest is the chat's; then come the one from a prompt and the two from a picture.
    assert len(videos) == len(set(videos)) == 4, videos
    assert [video.id for video in client.videos.list(order="asc")] == videos[::-1]
    first = videos[-2]

    remix = client.videos.remix(first, prompt="a small white square on a red background")
    assert remix.remixed_from_video_id == first, remix
    remix = client.videos.poll(remix.id, poll_interval_ms=200)
    assert remix.status == "completed" and (remix.seconds, remix.size) == ("1", "192x128"), remix
    assert client.videos.download_content(remix.id).read() != client.videos.download_content(first).read()

    # Nor does it take a reference to a video here.
    longer = client.videos.extend(prompt="", seconds="0.5", video=openai.omit, extra_body={"video": {"id": first}})
    longer = client.videos.poll(longer.id, poll_interval_ms=200)
    assert longer.status == "completed" and longer.seconds == "1.5", longer

    deleted = client.videos.delete(remix.id)
    assert deleted.deleted and deleted.id == remix.id and deleted.object == "video.deleted", deleted
    raises(openai.NotFoundError, lambda: client.videos.retrieve(remix.id))
    raises(openai.NotFoundError, lambda: client.videos.download_content(remix.id))
    assert remix.id not in [video.id for video in client.videos.list()]


def check_video_errors_are_typed(_server, client, _key):
    error = raises(openai.NotFoundError, lambda: client.videos.create(model="no-such-model", prompt=PROMPT))
    assert "no-such-model" in error.message and error.param == "model", error
    for fields, param in (
        ({"seconds": "0"}, "seconds"),
        ({"seconds": "-4"}, "seconds"),
        ({"size": "191x128"}, "size"),
        ({"size": "big"}, "size"),
        ({"prompt": "x [Zoom in, Fly]"}, "prompt"),
        ({"extra_body": {"fps": 1000}}, "fps"),
        ({"extra_body": {"num_frames": 0}}, "num_frames"),
    ):
        fields = {"model": VIDEO_MODEL, "prompt": PROMPT, **fields}
        error = raises(openai.BadRequestError, lambda fields=fields: client.videos.create(**fields))
        assert error.param == param, (fields, error)
    raises(openai.NotFoundError, lambda: client.videos.retrieve("job_01a223a640df70a88725a01299966ae1"))


def check_film_on_the_command_line(server, _client, key):
    film = server.directory / "remote.mp4"
    said = server.run(
        "generate", "video", "--model", VIDEO_MODEL, "--prompt", PROMPT, "--duration", "1", "--fps", "10", "--steps", "2",
        "--seed", "11", "--output", str(film), "--server", server.address, "--api-key", key,
    )
    assert said.startswith(f"{film} (10 frames, seed 11)"), said
    assert boxes(film.read_bytes())[0] == b"ftyp"


def check_job_survives_kill_9(server, _client, key):
    # 100 steps take seconds on any machine; the kill comes after the first of them.
    body = {"model": MODEL, "prompt": PROMPT, "seed": 5, "num_inference_steps": 100}
    task = server.call("POST", "/api/v1/images/generate", key, body)["task_id"]
    running = server.wait_for(
        task, key, lambda document: document["status"] != "queued" and document["progress"] > 0, "running with progress"
    )
    assert running["status"] == "running", f"too quick to be killed: {running['status']}"
    server.kill()
    server.start()
    done = server.wait_for(task, key, lambda document: document["status"] in ("completed", "failed", "cancelled"), "ended")
    assert done["status"] == "completed", done["error"]
    for output in done["result"]["outputs"]:
        assert png_size((server.data / "outputs" / output["local_path"]).read_bytes())


def check_revoked_key_is_refused_at_once(server, _client, _key):
    key = server.run("keys", "create", "--user", "guest").strip()
    client = openai.OpenAI(base_url=f"{server.address}/v1", api_key=key, max_retries=0)
    assert client.models.list().data
    (line,) = [line for line in server.run("keys", "list").splitlines() if "guest" in line]
    server.run("keys", "revoke", line.split()[0])
    raises(openai.AuthenticationError, client.models.list)


CHECKS = [
    check_models_are_listed,
    check_base64,
    check_url_needs_no_key,
    check_two_pictures_differ,
    check_stream_has_the_asked_partials,
    check_stream_without_partials,
    check_edits,
    check_variations,
    check_chat,
    check_film_as_a_task,
    check_errors_are_typed,
    check_pictures_say_what_made_them,
    check_command_line_on_the_server,
    check_video_from_a_prompt,
    check_video_from_a_picture,
    check_videos_are_listed_remixed_extended_and_removed,
    check_video_errors_are_typed,
    check_film_on_the_command_line,
    check_revoked_key_is_refused_at_once,
    check_job_survives_kill_9,
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="framewright-e2e-") as directory:
        server = Server(arguments.binary, Path(directory), {"FRAMEWRIGHT_DEVICE": arguments.device})
        try:
            server.start()
            key = server.run("keys", "create", "--user", "e2e").strip()
            client = openai.OpenAI(base_url=f"{server.address}/v1", api_key=key, max_retries=0, timeout=JOB_SECONDS)
            for check in CHECKS:
                started = time.monotonic()
                check(server, client, key)
                print(f"ok  {time.monotonic() - started:6.1f} s  {check.__name__}", flush=True)
            assert server.stop() == 0, "SIGTERM ends the server with status 0"
            log = (server.directory / "server.log").read_text(errors="replace")
            assert "panicked" not in log, "the server's log has a panic"
        except BaseException:
            sys.stderr.write(server.end_of_log())
            raise
        finally:
            if server.process and server.process.poll() is None:
                server.kill()
    print(f"all {len(CHECKS)} checks passed")


if __name__ == "__main__":
    main()
