/* The list of instructions: search, choose, and slide. Its value is {key: strength}. */
const list = element.querySelector(".tt-list");
const picked = element.querySelector(".tt-picked");
const search = element.querySelector("input[type=search]");
const more = element.querySelector(".tt-more");
const count = element.querySelector(".tt-count");
let value = {...(props.value || {})};
let showAll = false;

const make = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, one] of Object.entries(attributes)) {
    if (name === "text") made.textContent = one;
    else made.setAttribute(name, one);
  }
  made.append(...children);
  return made;
};
const shown = (strength) => Number(strength).toFixed(1);
const find = (key) => (props.options || []).find((one) => one.key === key);

let told = null;
const tell = (event) => {
  told = JSON.stringify(value);
  props.value = {...value};
  trigger(event);
};

const strengthOf = (option) => {
  const id = "tt-strength-" + option.key.replace(/\W+/g, "-");
  const slider = make("input", {
    type: "range", min: "-1", max: "3", step: "0.1", id, value: String(value[option.key]),
    "aria-describedby": "tt-strength-help",
  });
  const output = make("output", {for: id, text: shown(value[option.key])});
  slider.addEventListener("input", () => {
    value[option.key] = Number(slider.value);
    output.textContent = shown(slider.value);
  });
  slider.addEventListener("change", () => tell("release"));
  const label = make("label", {for: id}, "Strength");
  label.append(make("span", {class: "tt-hidden", text: " of " + option.title}));
  return make("div", {class: "tt-strength"}, label, slider, output);
};

const drawPicked = () => {
  picked.replaceChildren();
  for (const key of Object.keys(value)) {
    const option = find(key) || {key, title: key, taught: false};
    const remove = make("button", {type: "button", class: "tt-remove", "aria-label": "Remove: " + option.title, text: "×"});
    remove.addEventListener("click", () => {
      delete value[key];
      draw();
      search.focus();
      tell("select");
    });
    const item = make("li", {}, make("div", {class: "tt-picked-head"}, make("span", {text: option.title}), remove));
    item.append(option.taught ? strengthOf(option) : make("p", {class: "tt-small", text: "Not taught yet: the model can only be told."}));
    picked.append(item);
  }
  picked.hidden = !picked.children.length;
};

const drawList = () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const options = (props.options || []).filter((one) => words.every((word) => one.search.includes(word)));
  const some = (props.options || []).some((one) => one.taught);
  const wanted = showAll || words.length || !some ? options : options.filter((one) => one.taught);
  list.replaceChildren();
  wanted.forEach((option, number) => {
    const id = "tt-choice-" + number;
    const box = make("input", {type: "checkbox", id});
    box.checked = option.key in value;
    box.addEventListener("change", () => {
      if (box.checked) value[option.key] = 1;
      else delete value[option.key];
      drawPicked();
      tell("select");
    });
    const label = make("label", {for: id}, make("span", {class: "tt-choice-title", text: option.title}));
    label.append(make("span", {class: "tt-choice-key", text: option.taught ? option.key : option.key + " · not taught"}));
    list.append(make("li", {class: option.taught ? "" : "tt-untaught"}, box, label));
  });
  const hidden = options.length - wanted.length;
  more.hidden = !hidden && !showAll;
  more.textContent = showAll ? "Show only what is taught" : `Show ${hidden} more, not taught yet`;
  count.textContent = words.length ? `${wanted.length} found` : "";
};
const draw = () => { drawPicked(); drawList(); };

search.addEventListener("input", drawList);
more.addEventListener("click", () => { showAll = !showAll; drawList(); });
watch("options", draw);
watch("value", () => {
  const given = JSON.stringify(props.value || {});
  if (given === told) return; // the echo of what was told: a slider may have moved on since
  value = {...(props.value || {})};
  told = given;
  draw();
});
draw();
