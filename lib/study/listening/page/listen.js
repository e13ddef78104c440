"use strict";
// One page after another: consent, headphones, level, then for each part its training and its trials. After every answer the
// whole state is in localStorage, so that a closed page goes on where it was.

const TEST = window.TEST, KEEP = "listening-" + TEST.test, QUERY = new URLSearchParams(location.search);
const QUALITY = [[5, "Excellent"], [4, "Good"], [3, "Fair"], [2, "Poor"], [1, "Bad"]];
const KINDS = {
  headphones: { title: "Are you wearing headphones?", help: "You hear three tones. One is quieter than the others.", names: ["the tones"],
    question: "Which tone was the quietest?", options: [[1, "The first"], [2, "The second"], [3, "The third"]] },
  mos: { title: "How good does it sound?", help: "Judge the speech as a whole: how natural it is, and how pleasant to hear.", names: ["the sample"],
    question: "The quality of the speech is", options: QUALITY },
  smos: { title: "How alike are the voices?", help: "Do not mind how good the sound is, or how it is said: only whether it could be the same person.",
    names: ["the sample"], question: "The voices of the two samples are",
    options: [[5, "Excellently alike", "certainly the same person"], [4, "Well alike", "probably the same"], [3, "Fairly alike", "not sure"],
      [2, "Poorly alike", "probably another"], [1, "Not alike", "certainly another person"]] },
  xab: { title: "Whose voice is nearer?", help: "One person speaks in the reference. Which sample is nearer to that voice?", names: ["sample A", "sample B"],
    question: "Nearer to the reference is", options: [[1, "Sample A"], [2, "Sample B"]] },
  preference: { title: "Which do you prefer?", help: "Judge the speech as a whole: how natural it is, and how pleasant to hear.", names: ["sample A", "sample B"],
    question: "I prefer", options: [[1, "Sample A"], [2, "Sample B"], [3, "Neither"]] },
  mushra: { title: "How near is each to the reference?", help: "Rate each sample against the reference, from 0 to 100. One of them is the reference itself. " +
    "You can switch between them as often as you like.", question: "Quality of each sample" },
};
let unsaved = false;
const random = n => [...crypto.getRandomValues(new Uint8Array(n))].map(b => b.toString(16).padStart(2, "0")).join("");
const state = load() || start();
const steps = makeSteps();

function start() {
  const given = QUERY.get("list"), lists = TEST.lists.length;
  const list = given !== null && /^\d+$/.test(given) ? Number(given) % lists : crypto.getRandomValues(new Uint32Array(1))[0] % lists;
  return { listener: random(8), list, step: 0, began: new Date().toISOString(), headphones: {}, answers: [], post: TEST.post || (QUERY.has("receiver") ? "answers" : null) };
}

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEEP));
    return kept && TEST.lists[kept.list] ? Object.assign(kept, { resumed: kept.step > 0 }) : null;
  } catch { return null; }
}

function save() {
  try { localStorage.setItem(KEEP, JSON.stringify(state)); } catch { unsaved = true; }
}

function makeSteps() {
  const found = [{ text: consent }, ...TEST.headphones.map(clip => ({ kind: "headphones", trial: { clips: [clip] }, key: clip })), { text: level }];
  TEST.parts.forEach((part, p) => {
    found.push({ text: () => introduce(part, p) });
    part.training.forEach(trial => found.push({ kind: part.kind, trial, training: true }));
    TEST.lists[state.list][p].forEach(key => found.push({ kind: part.kind, trial: part.trials[key], key }));
  });
  return found.concat({ text: finish });
}

function show() {
  const step = steps[state.step], page = document.getElementById("page");
  stop();
  document.onkeydown = null;
  page.replaceChildren(document.getElementById(step.text ? "text" : "trial").content.cloneNode(true));
  page.querySelector("form").onsubmit = event => event.preventDefault();
  step.text ? step.text(page) : ask(page, step);
  document.getElementById("progress").value = state.step / (steps.length - 1);
  document.getElementById("where").textContent = state.step ? `${state.step} of ${steps.length - 1}` : "";
  scrollTo(0, 0);
  page.querySelector("h1").focus();
}

function next() {
  state.step += 1;
  save();
  show();
}

// Players: one sound at a time; a clip is heard once it has been played to its end.

let playing = null;

function stop() {
  if (playing) { playing.pause(); playing.currentTime = 0; playing.onpause(); playing = null; }
}

function player(name, clip, key, changed) {
  const sound = new Audio("audio/" + clip), button = document.createElement("button");
  const said = text => { button.querySelector(".sign").textContent = text; };
  sound.preload = "auto";
  button.type = "button";
  button.className = "player" + (name === "the reference" ? " reference" : "");
  button.innerHTML = '<span class="sign" aria-hidden="true">▶</span><span class="name"></span>';
  button.querySelector(".name").textContent = "Play " + name;
  button.title = `Key ${key.toUpperCase()}`;
  button.dataset.key = key;
  button.onclick = () => {
    const again = playing === sound;
    stop();
    if (again) return;
    playing = sound;
    said("■");
    sound.plays = (sound.plays || 0) + 1;
    sound.play().catch(() => { playing = null; said("▶"); document.querySelector(".hint").textContent = "This clip cannot be played: reload the page, your answers are kept."; });
    changed();
  };
  sound.ontimeupdate = () => button.style.setProperty("--played", sound.currentTime / sound.duration || 0);
  sound.onpause = () => { said("▶"); button.style.setProperty("--played", 0); };
  sound.onended = () => { playing = null; sound.heard = true; button.classList.add("heard"); button.setAttribute("aria-label", `Play ${name} again, heard`); sound.onpause(); changed(); };
  button.sound = sound;
  return button;
}

function ask(page, step) {
  const kind = KINDS[step.kind], began = performance.now(), many = step.kind === "mushra", trial = step.trial;
  const find = selector => page.querySelector(selector), options = find(".options"), sounds = [], values = {};
  find("h1").textContent = (step.training ? "For practice: " : "") + kind.title;
  find(".help").textContent = kind.help;
  find("legend").textContent = kind.question;
  const ready = () => {
    const heard = sounds.every(sound => sound.heard || (many && sound.plays)), chosen = many ? Object.keys(values).length === trial.clips.length : values.one;
    find(".next").disabled = !(heard && chosen);
    find(".hint").textContent = heard && chosen ? "" : heard ? "Now choose an answer." : many ? "Listen to each and move each slider." : "Listen to the end first.";
  };
  const add = (to, name, clip, key) => { const made = player(name, clip, key, ready); sounds.push(made.sound); to.append(made); };
  if (trial.x) add(find(".players"), "the reference", trial.x, "x");
  if (many) {
    options.innerHTML = '<div class="scale" aria-hidden="true"><span>Bad</span><span>Poor</span><span>Fair</span><span>Good</span><span>Excellent</span></div>';
    trial.clips.forEach((clip, i) => {
      const row = document.createElement("div"), letter = String.fromCharCode(65 + i);
      row.className = "slider";
      add(row, "sample " + letter, clip, letter.toLowerCase());
      row.insertAdjacentHTML("beforeend", `<input type="range" min="0" max="100" value="50" aria-label="Rating of sample ${letter}, 0 bad to 100 excellent"><output>–</output>`);
      const range = row.querySelector("input");
      range.oninput = range.onchange = () => { values[clip] = Number(range.value); row.querySelector("output").textContent = range.value; ready(); };
      options.append(row);
    });
  } else {
    trial.clips.forEach((clip, i) => add(find(".players"), kind.names[i], clip, trial.clips.length > 1 ? "ab"[i] : "p"));
    kind.options.forEach(([value, label, more]) => {
      const made = document.createElement("label");
      made.innerHTML = '<input type="radio" name="answer"> <span></span> <small></small>';
      made.querySelector("input").value = value;
      made.querySelector("span").textContent = QUALITY.length === kind.options.length ? `${value} ${label}` : label;
      made.querySelector("small").textContent = more || "";
      made.onchange = () => { values.one = value; ready(); };
      options.append(made);
    });
  }
  page.querySelector("form").onsubmit = event => {
    event.preventDefault();
    if (find(".next").disabled) return;
    const answer = { trial: step.key, value: many ? values : values.one, ms: Math.round(performance.now() - began), plays: sounds.reduce((sum, sound) => sum + sound.plays, 0) };
    if (step.kind === "headphones") state.headphones[step.key] = answer.value;
    else if (!step.training) state.answers.push(answer);
    next();
  };
  document.onkeydown = event => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const button = page.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`), radio = page.querySelector(`input[type=radio][value="${CSS.escape(event.key)}"]`);
    if (button) button.click();
    else if (radio) { radio.checked = true; radio.focus(); radio.dispatchEvent(new Event("change", { bubbles: true })); }
    else if (event.key === "Enter" && event.target.tagName !== "BUTTON") { event.preventDefault(); page.querySelector("form").requestSubmit(); }
  };
  ready();
}

// Pages of text.

function write(page, title, paragraphs, button) {
  page.querySelector("h1").textContent = title;
  page.querySelector(".body").innerHTML = paragraphs.map(text => `<p>${text}</p>`).join("");
  page.querySelector(".next").textContent = button;
  page.querySelector("form").onsubmit = event => { event.preventDefault(); if (!page.querySelector(".next").disabled) next(); };
}

function consent(page) {
  const trials = TEST.lists[state.list].reduce((sum, part) => sum + part.length, 0);
  write(page, "A listening test", [
    `You will hear ${trials} short pieces of speech, some real and some made by computers, and say how they sound. There are no right answers: your impression counts.`,
    "You need headphones and a quiet place. You can stop at any time; if you close the page, it goes on where you were when you open it again in the same browser.",
    "What is kept: your answers, how long each took, and a random number in place of your name. Nothing else about you or your device is recorded, and nothing leaves this page before you hand it over at the end.",
  ], "Begin");
  const box = page.querySelector(".agree"), button = page.querySelector(".next");
  box.hidden = false;
  box.querySelector("span").textContent = "I am at least 18 years old, have read this, and take part of my own free will.";
  button.disabled = true;
  box.onchange = () => { button.disabled = !box.querySelector("input").checked; };
}

function level(page) {
  write(page, "Set the volume", ["Play the sample and set the volume so that it is comfortable and easy to follow. Then leave it as it is until the end."], "It is set");
  const button = page.querySelector(".next"), made = player("the sample", TEST.level, "p", () => { button.disabled = !made.sound.heard; });
  page.querySelector(".players").append(made);
  button.disabled = true;
  document.onkeydown = event => { if (event.key === "p" && !event.ctrlKey && !event.metaKey) made.click(); };
}

function introduce(part, number) {
  const kind = KINDS[part.kind], keys = "Keys work too: " + (part.kind === "mushra" ? "X and the letters play, arrows move a slider" : (kind.names.length > 1 ? "X, A and B play" : "P plays") + ", digits choose an answer") + ", Enter goes on.";
  const told = [kind.help, `It begins with ${part.training.length > 1 ? part.training.length + " samples" : "one sample"} for practice, which ${part.training.length > 1 ? "do" : "does"} not count.`];
  write(document.getElementById("page"), `Part ${number + 1} of ${TEST.parts.length}: ${kind.title}`, told.concat(`<small>${keys}</small>`), "Continue");
}

function crc32(text) {
  let sum = -1;
  for (const byte of new TextEncoder().encode(text)) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ((sum ^ -1) >>> 0).toString(16).padStart(8, "0");
}

function handedOver() {
  const { listener, list, began, finished, headphones, answers } = state;
  const content = { test: TEST.test, listener, list, began, finished, headphones, answers };
  return JSON.stringify({ ...content, crc32: crc32(JSON.stringify(content)) });
}

function finish(page) {
  state.finished ||= new Date().toISOString();
  save();
  const button = page.querySelector(".next"), hint = page.querySelector(".hint"), text = handedOver();
  const download = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = `answers-${state.listener}.json`;
    link.click();
    hint.textContent = "Saved. Please send this file to whoever invited you.";
  };
  const send = async () => {
    hint.textContent = "Handing over …";
    try {
      const reply = await fetch(state.post, { method: "POST", body: text }), said = await reply.text();
      if (!reply.ok) throw new Error(said);
      state.received = true;
      save();
      show();
    } catch (error) {
      hint.textContent = `Not handed over (${error.message}). Your answers are kept here: try again, or save them as a file.`;
      if (!page.querySelector(".file")) {
        button.insertAdjacentHTML("afterend", '<button type="button" class="file">Save as a file</button>');
        page.querySelector(".file").onclick = download;
      }
    }
  };
  write(page, "Thank you", state.received ? ["Your answers have arrived. You can close this page."]
    : [state.post ? "That was all. Please hand over your answers." : "That was all. Please save your answers and send the file to whoever invited you."], state.post ? "Hand over" : "Save my answers");
  button.hidden = Boolean(state.received);
  page.querySelector("form").onsubmit = event => { event.preventDefault(); state.post ? send() : download(); };
}

show();
if (state.resumed) document.getElementById("where").textContent += " (welcome back)";
if (unsaved) document.getElementById("where").textContent += " (this browser keeps nothing: do not close the page)";
