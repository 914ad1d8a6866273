"use strict";

// The form works without this file; with it, the page is not left and the heatmap can be dimmed.
const $ = (id) => document.getElementById(id);
const texts = document.body.dataset;
const language = document.documentElement.lang;
let picture = null;
let stream = null;

// Those that answer at once; `method` of docs/api.md has the rest.
const methods = {
  gradcam: "Grad-CAM",
  "gradcam++": "Grad-CAM++",
  xgradcam: "XGrad-CAM",
  hirescam: "HiResCAM",
  layercam: "LayerCAM",
  eigencam: "Eigen-CAM",
  eigengradcam: "Eigen-Grad-CAM",
  ablationcam: "Ablation-CAM",
  saliency: "Saliency",
  smoothgrad: "SmoothGrad",
  integrated_gradients: "Integrated gradients",
};
for (const id of ["method", "other"]) {
  if (id === "other") $(id).append(new Option("–", ""));
  for (const [value, name] of Object.entries(methods)) $(id).append(new Option(name, value));
  $(id).addEventListener("change", explain);
}
$("class").addEventListener("change", explain);
document.body.classList.add("scripted");
$("image").required = false;
$("choose").className = "button";

function choose(file) {
  if (!file) return;
  picture = file;
  clear();
  const url = URL.createObjectURL(file);
  for (const id of ["preview", "second-preview"]) {
    URL.revokeObjectURL($(id).src);
    $(id).src = url;
  }
  $("pictures").hidden = false;
}

function clear() {
  $("error").textContent = "";
  $("answer").hidden = true;
  $("over").hidden = true;
  $("second").hidden = true;
  $("drawn").textContent = "";
}

function fail(message) {
  $("error").textContent = message;
}

async function analyse() {
  if (!picture) {
    $("image").click();
    return;
  }
  clear();
  $("analyse").disabled = true;
  const answer = await ask({ method: $("method").value });
  if (answer) await show(answer);
  $("analyse").disabled = false;
}

// The answer, or nothing where there is none: then the page says why.
async function ask(parameters) {
  $("error").textContent = "";
  $("status").textContent = texts.working;
  try {
    let response = await send(parameters);
    if (response.status === 415 && (await convert())) response = await send(parameters);
    const answer = await response.json();
    if (response.ok) return answer;
    fail(answer.error);
    if (response.status === 401) {
      $("access").hidden = false;
      $("key").focus();
    }
  } catch {
    fail(texts.unreachable);
  } finally {
    $("status").textContent = "";
  }
}

// The header with the key, where one was typed in. It is kept nowhere else.
function access() {
  return $("key").value ? { Authorization: `Bearer ${$("key").value}` } : {};
}

function send(parameters) {
  const form = new FormData();
  form.append("image", picture, "picture");
  form.append("output", "heatmap");
  form.append("lang", language);
  for (const [name, value] of Object.entries(parameters)) form.append(name, value);
  const headers = { Accept: "application/json", "Accept-Language": language, ...access() };
  return fetch("/predict/", { method: "POST", body: form, headers });
}

// Makes a JPEG of a picture that the server does not read and this browser shows: AVIF, SVG, HEIC on an iPhone.
async function convert() {
  const file = picture;
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await image.decode();
    const made = await jpeg(image, image.naturalWidth, image.naturalHeight);
    // Another one may have been chosen meanwhile.
    if (!made || picture !== file) return false;
    picture = made;
    return true;
  } catch {
    return false;
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

// A JPEG of what an element shows, on white; nothing where there are no pixels or too many.
function jpeg(source, width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0, width, height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}

async function show(answer) {
  $("bars").replaceChildren(...answer.results.map(row));
  $("uncertain").hidden = !answer.uncertain;
  const decision = $("decision");
  decision.hidden = !answer.decision || answer.decision.class === answer.results[0].class;
  decision.textContent = decision.hidden ? "" : `${decision.dataset.text} ${answer.decision.label}`;
  const flagged = $("flagged");
  flagged.hidden = answer.flagged.length === 0;
  flagged.textContent = `${flagged.dataset.text} ${answer.flagged.map(({ label }) => label).join(", ")}`;
  $("note").textContent = notes(answer);
  $("controls").hidden = !answer.heatmap;
  const classes = answer.results.map(({ class: id, label }) => new Option(label, id));
  $("class").replaceChildren(...classes);
  $("class").value = answer.explained_class;
  $("other").value = "";
  for (const id of ["over", "alone"]) lay(id, answer);
  arrange();
  $("answer").hidden = false;
  $("answer").focus();
  $("figures").textContent = `${texts.latency}: ${answer.latency_ms.total.toFixed(0)} ms`;
  const { memory } = await (await fetch("/memory/", { headers: access() })).json();
  $("figures").textContent += ` · ${texts.memory}: ${memory.rss_mb.toFixed(0)} MiB (${memory.percent} %)`;
}

// What is wrong with the picture's file, and why there is no heatmap.
function notes({ warnings, heatmap_error: error }) {
  return [...warnings, error].filter(Boolean).join(" · ");
}

// Lays an answer's heatmap over the picture that it explains.
function lay(id, answer) {
  const image = $(id);
  image.hidden = !answer.heatmap;
  if (!answer.heatmap) return;
  image.src = `data:image/png;base64,${answer.heatmap}`;
  for (const side of ["left", "top", "width", "height"]) {
    image.style[side] = `${answer.region[side] * 100}%`;
  }
}

// Another class or method, or a second method beside the first.
async function explain() {
  const wanted = { class: $("class").value, method: $("method").value };
  const answer = await ask(wanted);
  if (!answer) return;
  const other = $("other").value && (await ask({ ...wanted, method: $("other").value }));
  lay("over", answer);
  lay("alone", other || answer);
  $("note").textContent = notes(answer);
  arrange();
}

function row({ label, probability }) {
  const row = document.createElement("tr");
  const name = document.createElement("th");
  name.scope = "row";
  name.textContent = label;
  const meter = document.createElement("meter");
  Object.assign(meter, { min: 0, max: 100, value: probability });
  const number = `${probability.toFixed(1)} %`;
  meter.textContent = number;
  row.append(name, cell(meter), cell(number, "number"));
  return row;
}

function cell(content, className = "") {
  const cell = document.createElement("td");
  cell.className = className;
  cell.append(content);
  return cell;
}

function arrange() {
  const side = document.querySelector("input[name=view]:checked").value === "side";
  const compared = $("other").value !== "";
  const explained = !$("alone").hidden && $("alone").src !== "";
  $("second").hidden = !((side || compared) && explained);
  $("over").hidden = (side && !compared) || !explained;
  for (const id of ["over", "alone"]) $(id).style.opacity = $("opacity").value / 100;
}

async function openCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    $("video").srcObject = stream;
    $("viewfinder").hidden = false;
    await $("video").play();
    $("capture").focus();
  } catch {
    fail(texts.nocamera);
  }
}

function closeCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $("viewfinder").hidden = true;
}

function capture() {
  const video = $("video");
  jpeg(video, video.videoWidth, video.videoHeight).then(choose);
  closeCamera();
}

$("image").addEventListener("change", (event) => choose(event.target.files[0]));
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  analyse();
});
$("camera").addEventListener("click", openCamera);
$("capture").addEventListener("click", capture);
$("cancel").addEventListener("click", closeCamera);
$("example").addEventListener("click", async () => {
  choose(await (await fetch("/example.jpg")).blob());
  analyse();
});
$("opacity").addEventListener("input", arrange);
for (const radio of document.querySelectorAll("input[name=view]")) {
  radio.addEventListener("change", arrange);
}
document.addEventListener("paste", (event) => choose(event.clipboardData.files[0]));
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
  });
}
document.addEventListener("drop", (event) => choose(event.dataTransfer.files[0]));
