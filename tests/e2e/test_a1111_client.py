"""The unmodified `webuiapi` package, a client of A1111's Stable Diffusion web UI, against a running server.

    python tests/e2e/test_a1111_client.py path/to/framewright [--device cpu|fake]

Starts the binary with an empty data directory on a free port, makes a key with the command line, and runs every check below in order.
The first failure ends the run with its traceback and the end of the server's log; the exit status is 0 only when all passed.
"""

import argparse
import concurrent.futures
import sys
import tempfile
import time
from pathlib import Path

import requests
import webuiapi
from PIL import Image, ImageChops, ImageStat

from server import JOB_SECONDS, Server

MODEL = "demo-sdxl"
PROMPT = "a large red circle on a blue background"
SMALL = {"prompt": PROMPT, "width": 128, "height": 128, "steps": 4, "cfg_scale": 3, "seed": 11}


def check_discovery(_server, api, _key):
    assert [model["model_name"] for model in api.get_sd_models()] == [MODEL]
    assert {"Euler", "Euler a", "DPM++ 2M", "DDIM"} <= set(api.util_get_sampler_names())
    assert {"automatic", "karras"} <= set(api.util_get_scheduler_names())
    assert [upscaler["name"] for upscaler in api.get_upscalers()] == ["None", "Lanczos", "Nearest"]
    for nothing in (
        api.get_sd_vae, api.get_loras, api.get_hypernetworks, api.get_face_restorers, api.get_realesrgan_models, api.get_prompt_styles,
        api.get_latent_upscale_modes,
    ):
        assert nothing() == [], nothing
    assert api.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert api.get_scripts() == {"txt2img": [], "img2img": []}
    assert api.get_cmd_flags()["api"] is True
    assert set(api.get_memory()) == {"ram", "cuda"}


def check_pictures_of_a_prompt(_server, api, _key):
    # The package sends every field that it knows, most of them with the web UI's defaults.
    result = api.txt2img(**SMALL, negative_prompt="blurry", batch_size=2)
    assert len(result.images) == 2 and all(image.size == (128, 128) for image in result.images)
    first, second = result.images
    assert first.tobytes() != second.tobytes()
    assert result.info["all_seeds"] == [11, 12] and result.info["sampler_name"] == "Euler a", result.info
    assert [image.info["parameters"] for image in result.images] == result.info["infotexts"]
    assert result.info["infotexts"][0].startswith(f"{PROMPT}\nNegative prompt: blurry\nSteps: 4, Sampler: Euler a"), result.info["infotexts"]
    assert result.parameters["width"] == 128 and result.parameters["seed"] == 11
    again = api.txt2img(**SMALL, negative_prompt="blurry")
    assert again.image.tobytes() == first.tobytes(), "the same seed makes the same picture"


def check_samplers_by_their_names(_server, api, _key):
    # Before 1.9 a name ended with its schedule.
    old = api.txt2img(**SMALL, sampler_name="DPM++ 2M Karras")
    new = api.txt2img(**SMALL, sampler_name="DPM++ 2M", scheduler="Karras")
    assert old.image.tobytes() == new.image.tobytes()
    assert "Sampler: DPM++ 2M, Schedule type: Karras" in new.info["infotexts"][0]
    plain = api.txt2img(**SMALL, sampler_name="DPM++ 2M", scheduler="Uniform")
    assert plain.image.tobytes() != new.image.tobytes()


def check_pictures_of_a_picture(_server, api, _key):
    start = Image.new("RGB", (96, 96), (20, 40, 220))
    result = api.img2img(images=[start], **SMALL, denoising_strength=0.6)
    assert result.image.size == (128, 128)
    assert result.info["denoising_strength"] == 0.6 and "Denoising strength: 0.6" in result.info["infotexts"][0]
    assert result.parameters["init_images"] is None


def check_pictures_of_a_masked_picture(_server, api, _key):
    start = api.txt2img(**SMALL).image
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (64, 0, 128, 128))
    fields = {**SMALL, "prompt": "a small green star on a yellow background", "steps": 10}
    painted = api.img2img(images=[start], mask_image=mask, **fields, inpainting_fill=1, denoising_strength=1.0).image
    kept, repainted = (difference(start, painted, box) for box in ((0, 0, 48, 128), (80, 0, 128, 128)))
    assert repainted > 3 * kept, (kept, repainted)


def difference(one, other, box):
    """How far two pictures are apart within a box, 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one.crop(box), other.crop(box))).mean) / 3


def check_png_info(_server, api, _key):
    image = api.txt2img(**SMALL).image
    result = api.png_info(image)
    assert result.info == image.info["parameters"], result.info
    assert result.parameters["Prompt"] == PROMPT and result.parameters["Seed"] == "11", result.parameters


def check_enlarging(_server, api, _key):
    image = Image.new("RGB", (32, 16), (200, 10, 10))
    result = api.extra_single_image(image=image, upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=2)
    assert result.image.size == (64, 32)


def check_options(_server, api, _key):
    assert api.get_options()["sd_model_checkpoint"].startswith(MODEL)
    api.util_set_model(MODEL)
    assert api.util_get_current_model().startswith(f"{MODEL} ["), "the hash is known once the model was used"
    assert api.set_options({"sd_model_checkpoint": api.get_sd_models()[0]["title"], "unheard_of": True}) is None
    result = api.txt2img(**SMALL, override_settings={"sd_model_checkpoint": MODEL})
    assert result.info["sd_model_name"] == MODEL
    assert api.refresh_checkpoints() is None


def check_errors(server, api, key):
    for fields, status in (
        ({"sampler_name": "DPM fast"}, 404),
        ({"override_settings": {"sd_model_checkpoint": "no-such"}}, 404),
        ({"width": 100}, 422),
        ({"enable_hr": True}, 422),
        ({"prompt": "a <lora:x:1>"}, 422),
    ):
        try:
            api.txt2img(**{**SMALL, **fields})
        except RuntimeError as error:
            assert error.args[0] == status, (fields, error)
        else:
            raise AssertionError(f"{fields}: no error")
    stranger = webuiapi.WebUIApi(port=server.port, username="e2e", password=key[:-1] + ("A" if key[-1] != "A" else "B"))
    answer = stranger.session.get(f"{stranger.baseurl}/options", timeout=60)
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Basic", answer.text
    assert set(answer.json()) == {"error", "detail", "body", "errors"}, answer.text


def check_progress_and_interrupt(server, api, _key):
    assert api.get_progress()["state"]["job_count"] == 0
    # The package's sessions are not made for two threads.
    other = webuiapi.WebUIApi(port=server.port, username="e2e", password=api.session.auth[1])
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(other.txt2img, **{**SMALL, "width": 256, "height": 256, "steps": 150, "batch_size": 10})
        deadline = time.monotonic() + JOB_SECONDS
        while True:
            progress = api.get_progress()
            if progress["state"]["job_count"] and progress["progress"] > 0 and progress["current_image"]:
                break
            assert not waiting.done(), waiting.result().info
            assert time.monotonic() < deadline, progress
            time.sleep(0.05)
        assert 0 < progress["progress"] < 1 and progress["state"]["sampling_steps"] == 150, progress["state"]
        assert api.interrupt() == {}
        assert waiting.result(timeout=JOB_SECONDS).images == []
    assert api.get_progress()["progress"] == 0
    assert api.txt2img(**SMALL).images, "the next one is made"


def check_clients_without_a_name(server, _api, key):
    answer = requests.get(f"{server.address}/sdapi/v1/options", headers={"Authorization": f"Bearer {key}"}, timeout=60)
    assert answer.status_code == 200
    answer = requests.post(f"{server.address}/sdapi/v1/txt2img", json=SMALL, headers={"X-Api-Key": key}, timeout=JOB_SECONDS)
    assert answer.status_code == 200 and len(answer.json()["images"]) == 1


CHECKS = [
    check_discovery,
    check_pictures_of_a_prompt,
    check_samplers_by_their_names,
    check_pictures_of_a_picture,
    check_pictures_of_a_masked_picture,
    check_png_info,
    check_enlarging,
    check_options,
    check_errors,
    check_progress_and_interrupt,
    check_clients_without_a_name,
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
            api = webuiapi.WebUIApi(port=server.port, username="e2e", password=key)
            for check in CHECKS:
                started = time.monotonic()
                check(server, api, key)
                print(f"ok  {time.monotonic() - started:6.1f} s  {check.__name__}", flush=True)
            assert server.stop() == 0, "SIGTERM ends the server with status 0"
            log = (server.directory / "server.log").read_text(errors="replace")
            assert "panicked" not in log, "the server's log has a panic"
            assert key not in log, "the server's log has a key"
        except BaseException:
            sys.stderr.write(server.end_of_log())
            raise
        finally:
            if server.process and server.process.poll() is None:
                server.kill()
    print(f"all {len(CHECKS)} checks passed")


if __name__ == "__main__":
    main()
