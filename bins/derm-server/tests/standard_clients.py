"""What clients of Triton and KServe see of the server, compared with POST /predict/.

Arguments: the server's port, a JPEG, and the protocol's client to use (tritonclient or kserve).
"""

import asyncio
import base64
import json
import pathlib
import sys
import urllib.request

import numpy as np

PORT, JPEG, CLIENT = sys.argv[1:]
ADDRESS = f"127.0.0.1:{PORT}"
MODEL = "derm-lite0"
CLASSES = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
PICTURE = pathlib.Path(JPEG).read_bytes()


def predict(picture, query=""):
    request = urllib.request.Request(f"http://{ADDRESS}/predict/{query}", picture, {"Content-Type": "image/jpeg"})
    return json.load(urllib.request.urlopen(request))


def probabilities(answer):
    by_class = {one["class"]: one["probability"] / 100 for one in answer["results"]}
    return np.array([by_class[name] for name in CLASSES])


ANSWER = predict(PICTURE)
EXPECTED = probabilities(ANSWER)
# A tensor whose picture is known: every pixel has the same colour, and is what the manifest makes of it.
COLOUR = np.array([90.0, 140.0, 200.0], np.float32)
TENSOR = np.broadcast_to(((COLOUR - 127) / 128)[None, :, None, None], (1, 3, 224, 224)).astype(np.float32)


def plain_bmp():
    pixel = bytes([200, 140, 90])
    size = 224 * 224 * 3
    head = b"BM" + (54 + size).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    head += (40).to_bytes(4, "little") + (224).to_bytes(4, "little") * 2
    head += (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + bytes(4) + size.to_bytes(4, "little") + bytes(16)
    return head + pixel * (224 * 224)


PLAIN = probabilities(predict(plain_bmp(), "?gradcam=false"))


def same(found, expected):
    assert np.allclose(found, expected, atol=1e-5), (found, expected)


def tritonclient_http():
    import tritonclient.http as http

    client = http.InferenceServerClient(ADDRESS)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(MODEL)
    assert client.get_server_metadata()["name"] == "derm-server"
    metadata = client.get_model_metadata(MODEL)
    config = client.get_model_config(MODEL)
    assert [one["name"] for one in config["input"]] == [one["name"] for one in metadata["inputs"]]
    pixels = metadata["inputs"][1]

    for compression in [None, "gzip", "deflate"]:
        encoded = http.InferInput("image", [1], "BYTES")
        encoded.set_data_from_numpy(np.array([PICTURE], dtype=np.object_), binary_data=True)
        result = client.infer(MODEL, [encoded], request_compression_algorithm=compression)
        same(result.as_numpy("probabilities")[0], EXPECTED)
        assert result.as_numpy("label")[0].decode() == ANSWER["results"][0]["class"]
        same(result.as_numpy("ood_score")[0], ANSWER["ood"]["score"])

    text = http.InferInput("image", [2], "BYTES")
    words = [base64.b64encode(PICTURE)] * 2
    text.set_data_from_numpy(np.array(words, dtype=np.object_), binary_data=False)
    outputs = [http.InferRequestedOutput("probabilities", binary_data=False)]
    same(client.infer(MODEL, [text], outputs=outputs).as_numpy("probabilities"), [EXPECTED] * 2)

    for binary in [True, False]:
        tensor = http.InferInput(pixels["name"], TENSOR.shape, pixels["datatype"])
        tensor.set_data_from_numpy(TENSOR, binary_data=binary)
        same(client.infer(MODEL, [tensor]).as_numpy("probabilities")[0], PLAIN)

    outputs = [
        http.InferRequestedOutput("probabilities", class_count=3),
        http.InferRequestedOutput("overlay"),
        http.InferRequestedOutput("heatmap"),
        http.InferRequestedOutput("logits"),
    ]
    result = client.infer(MODEL, [encoded], outputs=outputs)
    first = result.as_numpy("probabilities")[0][0].decode().split(":")
    assert CLASSES[int(first[1])] == first[2] == ANSWER["results"][0]["class"]
    same(float(first[0]), EXPECTED.max())
    assert result.as_numpy("overlay")[0] == base64.b64decode(ANSWER["heatmap"])
    heatmap = result.as_numpy("heatmap")
    assert heatmap.shape == (1, 7, 7) and heatmap.min() >= 0 and heatmap.max() <= 1
    assert result.as_numpy("logits").shape == (1, 7)
    explained = client.infer(MODEL, [encoded], outputs=outputs[1:2], parameters={"class": "mel"})
    assert explained.as_numpy("overlay")[0] == base64.b64decode(predict(PICTURE, "?class=mel")["heatmap"])

    try:
        client.infer(
            MODEL, [http.InferInput("other", [1], "BYTES").set_data_from_numpy(np.array([b"x"], dtype=np.object_))]
        )
        raise SystemExit("an input that does not exist was taken")
    except http.InferenceServerException as error:
        assert "image" in error.message()

    assert client.get_model_repository_index()[0]["state"] == "READY"
    client.unload_model(MODEL)
    assert not client.is_model_ready(MODEL)
    assert client.get_model_repository_index()[0]["state"] == "UNAVAILABLE"
    client.load_model(MODEL)
    assert client.is_model_ready(MODEL)
    same(client.infer(MODEL, [encoded]).as_numpy("probabilities")[0], EXPECTED)


async def kserve_sdk():
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

    base = f"http://{ADDRESS}"
    text = base64.b64encode(PICTURE).decode()
    v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
    instances = {"instances": [{"b64": text}, {"b64": text}]}
    predictions = (await v1.infer(base, instances, model_name=MODEL))["predictions"]
    same([one["probabilities"] for one in predictions], [EXPECTED] * 2)
    explanations = (await v1.explain(base, model_name=MODEL, data=instances))["explanations"]
    assert explanations[1]["heatmaps"][0]["heatmap"] == ANSWER["heatmap"]
    assert await v1.is_model_ready(base, MODEL)

    v2 = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await v2.is_server_live(base) and await v2.is_server_ready(base)
    assert await v2.is_model_ready(base, MODEL)
    encoded = InferInput("image", [1], "BYTES", data=[text])
    answer = await v2.infer(base, InferRequest(MODEL, [encoded]), model_name=MODEL)
    same(answer.outputs[0].as_numpy()[0], EXPECTED)
    files = InferInput("image", [1], "BYTES")
    files.set_data_from_numpy(np.array([PICTURE], dtype=np.object_), binary_data=True)
    answer = await v2.infer(base, InferRequest(MODEL, [files]), model_name=MODEL)
    same(answer.outputs[0].as_numpy()[0], EXPECTED)
    metadata = json.load(urllib.request.urlopen(f"{base}/v2/models/{MODEL}"))
    tensor = InferInput(metadata["inputs"][1]["name"], list(TENSOR.shape), "FP32")
    tensor.set_data_from_numpy(TENSOR, binary_data=True)
    answer = await v2.infer(base, InferRequest(MODEL, [tensor]), model_name=MODEL)
    same(answer.outputs[0].as_numpy()[0], PLAIN)


if CLIENT == "tritonclient":
    tritonclient_http()
else:
    asyncio.run(kserve_sdk())
print("ok")
