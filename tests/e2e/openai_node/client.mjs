// The unmodified `openai` package of Node against a running server. Prints a line for each check; the first failure ends the run.
//
//     ADDRESS=http://127.0.0.1:8000 KEY=fw_… node client.mjs

import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";

import OpenAI, { toFile } from "openai";

const MODEL = "demo-sdxl";
const VIDEO_MODEL = "demo-svd";
const PROMPT = "a large red circle on a blue background";
const client = new OpenAI({ baseURL: `${process.env.ADDRESS}/v1`, apiKey: process.env.KEY, maxRetries: 0, timeout: 600_000 });

function pngSize(bytes) {
    assert.equal(bytes.subarray(1, 4).toString(), "PNG");
    return [bytes.readUInt32BE(16), bytes.readUInt32BE(20)];
}

async function download(address) {
    const answer = await fetch(address);
    assert.equal(answer.status, 200, address);
    return Buffer.from(await answer.arrayBuffer());
}

function linked(content) {
    return download(content.slice(content.indexOf("](") + 2, -1));
}

async function collect(stream) {
    const items = [];
    for await (const item of stream) items.push(item);
    return items;
}

const image = await client.images.generate({ model: MODEL, prompt: PROMPT, response_format: "b64_json", seed: 1 });
const picture = Buffer.from(image.data[0].b64_json, "base64");

const checks = {
    async models_are_listed() {
        const ids = (await collect(client.models.list())).map((model) => model.id);
        assert.ok(ids.includes(MODEL) && ids.includes(VIDEO_MODEL), ids);
    },

    async images_are_generated() {
        assert.deepEqual(pngSize(picture).join("x"), image.size);
        const wide = await client.images.generate({ model: MODEL, prompt: PROMPT, size: "16:9", num_inference_steps: 2 });
        const [width, height] = pngSize(await download(wide.data[0].url));
        assert.ok(width > height, wide.size);
    },

    async images_are_streamed() {
        const stream = await client.images.generate({ model: MODEL, prompt: PROMPT, stream: true, partial_images: 2 });
        const events = await collect(stream);
        const partial = "image_generation.partial_image";
        assert.deepEqual(events.map((event) => event.type), [partial, partial, "image_generation.completed"]);
        for (const event of events) pngSize(Buffer.from(event.b64_json, "base64"));
    },

    async images_are_edited() {
        const file = () => toFile(picture, "first.png", { type: "image/png" });
        const edited = await client.images.edit({ model: MODEL, image: await file(), prompt: PROMPT, response_format: "b64_json" });
        assert.deepEqual(pngSize(Buffer.from(edited.data[0].b64_json, "base64")), pngSize(picture));
        const stream = await client.images.edit({ model: MODEL, image: [await file()], prompt: PROMPT, stream: true });
        assert.deepEqual((await collect(stream)).map((event) => event.type), ["image_edit.completed"]);
        const two = client.images.edit({ model: MODEL, image: [await file(), await file()], prompt: PROMPT });
        await assert.rejects(two, (error) => error instanceof OpenAI.BadRequestError && error.param === "image");
    },

    async videos_are_made_polled_and_downloaded() {
        const input_reference = await toFile(picture, "first.png", { type: "image/png" });
        const fields = { num_inference_steps: 2, num_frames: 4 };
        let video = await client.videos.create({ model: VIDEO_MODEL, prompt: "x", input_reference, ...fields });
        while (video.status === "queued" || video.status === "in_progress") {
            await setTimeout(200);
            video = await client.videos.retrieve(video.id);
        }
        assert.equal(video.status, "completed", JSON.stringify(video));
        const film = Buffer.from(await (await client.videos.downloadContent(video.id)).arrayBuffer());
        assert.equal(film.subarray(4, 8).toString(), "ftyp");
        assert.equal((await client.videos.delete(video.id)).deleted, true);
        await assert.rejects(client.videos.retrieve(video.id), OpenAI.NotFoundError);
    },

    async chat_answers_with_a_picture() {
        const url = `data:image/png;base64,${picture.toString("base64")}`;
        const content = [{ type: "text", text: PROMPT }, { type: "image_url", image_url: { url } }];
        const messages = [{ role: "user", content }];
        const answer = await client.chat.completions.create({ model: MODEL, messages, temperature: 0.5 });
        assert.equal(answer.choices[0].finish_reason, "stop");
        pngSize(await linked(answer.choices[0].message.content));
        const stream = client.chat.completions.stream({ model: MODEL, messages, stream_options: { include_usage: true } });
        const streamed = await stream.finalChatCompletion();
        assert.equal(streamed.usage.total_tokens, 0);
        assert.deepEqual(pngSize(await linked(streamed.choices[0].message.content)), pngSize(picture));
    },

    async hanging_up_is_no_error_of_the_server() {
        const messages = [{ role: "user", content: PROMPT }];
        const stream = await client.chat.completions.create({ model: MODEL, messages, stream: true, num_inference_steps: 100 });
        for await (const chunk of stream) {
            assert.equal(chunk.choices[0].delta.role, "assistant");
            break;
        }
    },

    async errors_are_typed() {
        const unknown = client.images.generate({ model: "no-such-model", prompt: PROMPT });
        await assert.rejects(unknown, (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
        const stranger = new OpenAI({ baseURL: client.baseURL, apiKey: `fw_${"A".repeat(43)}`, maxRetries: 0 });
        const wrong = stranger.chat.completions.create({ model: MODEL, messages: [{ role: "user", content: "x" }] });
        await assert.rejects(wrong, (error) => error instanceof OpenAI.AuthenticationError && error.code === "invalid_api_key");
    },
};

for (const [name, check] of Object.entries(checks)) {
    const started = performance.now();
    await check();
    console.log(`ok  ${((performance.now() - started) / 1000).toFixed(1).padStart(6)} s  ${name}`);
}
console.log(`all ${Object.keys(checks).length} checks passed`);
