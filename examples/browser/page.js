// Pictures through networks compiled to WebAssembly. networks.json tells which there are.

const RUNS = 5; // of which the median is the time
const COMPARED = 1000; // ms; in the first such time the browser compiles what is slow once more

/** Weights of the source pixels that make one target pixel, along one axis. 'area' averages what a pixel covers;
 *  'bilinear' is a triangle that widens as the picture shrinks, as Pillow's antialiased resize. */
function weights(from, to, filter) {
  const scale = from / to, stretch = Math.max(scale, 1), lines = [];
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale, reach = filter === 'area' ? scale / 2 : stretch;
    const first = Math.max(0, filter === 'area' ? Math.floor(centre - reach) : Math.trunc(centre - reach + 0.5));
    const last = Math.min(from, filter === 'area' ? Math.ceil(centre + reach) : Math.trunc(centre + reach + 0.5));
    const line = [];
    for (let j = first; j < last; j++) {
      line.push(filter === 'area'
        ? Math.min(j + 1, centre + reach) - Math.max(j, centre - reach)
        : Math.max(0, 1 - Math.abs((j + 0.5 - centre) / stretch)));
    }
    const total = line.reduce((sum, weight) => sum + weight, 0);
    lines.push({ first, line: line.map((weight) => weight / total) });
  }
  return lines;
}

/** A picture {data: RGB bytes, width, height} at another size: columns first, then rows. */
function resized(picture, width, height, filter) {
  const between = filter === 'area' ? (sum) => sum : Math.round; // OpenCV rounds once, Pillow twice
  const stretched = new Float64Array(width * picture.height * 3), data = new Uint8ClampedArray(width * height * 3);
  weights(picture.width, width, filter).forEach(({ first, line }, x) => {
    for (let y = 0; y < picture.height; y++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let k = 0; k < line.length; k++) sum += line[k] * picture.data[(y * picture.width + first + k) * 3 + c];
        stretched[(y * width + x) * 3 + c] = between(sum);
      }
    }
  });
  weights(picture.height, height, filter).forEach(({ first, line }, y) => {
    for (let x = 0; x < width * 3; x++) {
      let sum = 0;
      for (let k = 0; k < line.length; k++) sum += line[k] * stretched[(first + k) * width * 3 + x];
      data[y * width * 3 + x] = Math.round(sum);
    }
  });
  return { data, width, height };
}

/** The central part of a picture; a half pixel is rounded to an even one, as Python rounds. */
function centre(picture, width, height) {
  const half = (length) => (length >> 1) + (length % 4 === 3 ? 1 : 0);
  const left = half(picture.width - width), top = half(picture.height - height);
  const data = new Uint8ClampedArray(width * height * 3);
  for (let y = 0; y < height; y++) {
    const start = ((top + y) * picture.width + left) * 3;
    data.set(picture.data.subarray(start, start + width * 3), y * width * 3);
  }
  return { data, width, height };
}

/** The input of a network, as Python makes it of the same picture. */
function prepared(network, picture) {
  const { height, width } = network;
  if (network.kind === 'depth') {
    const shrinks = picture.width >= width && picture.height >= height;
    return resized(picture, width, height, shrinks ? 'area' : 'bilinear');
  }
  const short = Math.min(picture.width, picture.height), side = network.shorter_side;
  const [w, h] = [picture.width, picture.height].map((length) => length === short ? side : Math.trunc(side * length / short));
  return centre(w === picture.width && h === picture.height ? picture : resized(picture, w, h, 'bilinear'), width, height);
}

/** A compiled network: {run: (RGB bytes) => Float32Array, kilobytes}. */
async function loaded(name) {
  const answer = await fetch(`${name}.wasm`);
  if (!answer.ok) throw new Error(`${name}.wasm cannot be loaded (${answer.status})`);
  const bytes = await answer.arrayBuffer();
  const { exports } = (await WebAssembly.instantiate(bytes, {})).instance;
  exports._initialize?.();
  const run = (pixels, floats) => {
    new Uint8Array(exports.memory.buffer).set(pixels, exports.pixels());
    const status = exports.run();
    if (status !== 0) throw new Error(`${name} ended with status ${status}`);
    return new Float32Array(exports.memory.buffer, exports.output(), floats).slice();
  };
  return { run, kilobytes: Math.round(bytes.byteLength / 1000) };
}

/** The last result and the median time in ms of some runs. */
function timed(run) {
  let result;
  const times = Array.from({ length: RUNS }, () => {
    const begin = performance.now();
    result = run();
    return performance.now() - begin;
  });
  return { result, milliseconds: times.sort((a, b) => a - b)[RUNS >> 1] };
}

// Milliseconds of a run, of as many as take a second: a browser's clock ticks in tenths of a millisecond.
function average(run) {
  const begin = performance.now();
  let count = 0, spent = 0;
  for (; spent < COMPARED; count += 1, spent = performance.now() - begin) run();
  return spent / count;
}

function element(kind, properties = {}, parent = null) {
  const made = Object.assign(document.createElement(kind), properties);
  parent?.append(made);
  return made;
}

function showClasses(section, network, logits) {
  const top = Math.max(...logits), exps = Array.from(logits, (value) => Math.exp(value - top));
  const total = exps.reduce((sum, value) => sum + value, 0);
  const order = exps.map((value, i) => [value / total, network.classes[i]]).sort((a, b) => b[0] - a[0]).slice(0, 5);
  section.shown.replaceChildren(...order.map(([share, name]) => {
    const bar = element('div', { className: 'bar', textContent: `${(100 * share).toFixed(1)} % ${name}` });
    bar.style.width = `${100 * share}%`;
    return bar;
  }));
}

function showDepth(section, network, disparity, colours, picture) {
  const { width, height } = network;
  const sorted = Float32Array.from(disparity).sort();
  const [low, high] = [0.05, 0.98].map((share) => sorted[Math.floor(share * (sorted.length - 1))]);
  const canvas = section.canvas ??= element('canvas', { width, height, ariaLabel: 'Depth' }, section.shown);
  const image = new ImageData(width, height);
  disparity.forEach((value, i) => {
    const shade = Math.round(Math.min(Math.max((value - low) / (high - low || 1), 0), 1) * (colours.length - 1));
    image.data.set([...colours[shade], 255], 4 * i);
  });
  canvas.getContext('2d').putImageData(image, 0, 0);
  const ratio = picture.width / picture.height;  // the network's own is another
  Object.assign(canvas.style, { aspectRatio: ratio, width: `min(100%, ${60 * ratio}vh)` });
  canvas.onclick = (event) => {
    const x = Math.floor(event.offsetX / canvas.clientWidth * width), y = Math.floor(event.offsetY / canvas.clientHeight * height);
    const seen = disparity[y * width + x], focal = Number(section.focal.value) * width / picture.width;
    section.number.textContent = !(seen > 0) ? 'no depth here'
      : focal > 0 && network.baseline ? `${(focal * network.baseline / seen).toFixed(2)} m`
        : `${(width / seen).toFixed(2)} (relative; metres need the focal length)`;
  };
}

async function start() {
  const { networks, colours } = await (await fetch('networks.json')).json();
  const sections = await Promise.all(networks.map(async (network) => {
    const place = element('section', { id: network.name }, document.querySelector('#networks'));
    element('h2', { textContent: network.kind === 'depth' ? 'Depth' : 'Classes' }, place);
    const section = { network, compiled: await loaded(network.name), fact: element('p', { className: 'fact' }, place) };
    section.shown = element('div', { className: 'shown' }, place);
    section.fact.textContent = `${network.name}: ${section.compiled.kilobytes} kB with its code`;
    if (network.kind === 'depth') {
      const label = element('label', { textContent: 'Focal length in px of the picture: ' }, place);
      section.focal = element('input', { type: 'number', min: 0 }, label);
      section.number = element('p', { className: 'number', textContent: 'Click on the depth for a number.' }, place);
    }
    if (network.float) {
      const { name, kilobytes } = network.float;
      const beside = `float network of its shape: ${kilobytes} kB with its code`;
      const answer = element('p', { className: 'fact float', textContent: beside }, place);
      const button = element('button', { textContent: 'Load it and time both' }, place);
      button.onclick = async () => {
        button.disabled = true;
        const float = await loaded(name), pixels = new Uint8Array(network.width * network.height * 3);
        const [, , slow, fast] = [float, section.compiled, float, section.compiled].map(
          ({ run }) => average(() => run(pixels, 1)));
        answer.textContent = `${beside}, ${slow.toPrecision(2)} ms; 1 bit: ${section.compiled.kilobytes} kB, `
          + `${fast.toPrecision(2)} ms, ${(slow / fast).toFixed(1)} times as fast`;
        button.disabled = false;
      };
    }
    return section;
  }));

  const problem = document.querySelector('#problem');
  const show = (source, width, height) => {
    const canvas = new OffscreenCanvas(width, height), context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(source, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    const picture = { data: data.filter((_, i) => i % 4 !== 3), width, height };
    for (const section of sections) {
      const { network, compiled } = section, input = prepared(network, picture).data;
      const floats = network.kind === 'depth' ? network.width * network.height : network.classes.length;
      const { result, milliseconds } = timed(() => compiled.run(input, floats));
      section.fact.textContent = `${network.name}: ${compiled.kilobytes} kB with its code, ${milliseconds.toFixed(1)} ms`;
      if (network.kind === 'depth') showDepth(section, network, result, colours, picture);
      else showClasses(section, network, result);
    }
  };
  const read = async (file) => {
    problem.textContent = '';
    try {
      const bitmap = await createImageBitmap(file);
      show(bitmap, bitmap.width, bitmap.height);
    } catch {
      problem.textContent = `${file.name} cannot be read as a picture.`;
    }
  };

  const drop = document.querySelector('#drop'), video = document.querySelector('#video');
  document.querySelector('#file').onchange = (event) => { if (event.target.files[0]) read(event.target.files[0]); };
  drop.ondragover = (event) => { event.preventDefault(); drop.classList.add('over'); };
  drop.ondragleave = () => drop.classList.remove('over');
  drop.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove('over');
    if (event.dataTransfer.files[0]) read(event.dataTransfer.files[0]);
  };
  document.querySelector('#camera').onclick = async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 640 } });
    } catch (error) {
      problem.textContent = `There is no camera to use: ${error.message}.`;
      return;
    }
    video.hidden = false;
    await video.play();
    const next = () => { show(video, video.videoWidth, video.videoHeight); requestAnimationFrame(next); };
    next();
  };
  document.body.dataset.ready = 'yes';
}

start().catch((error) => { document.querySelector('#problem').textContent = String(error.message ?? error); });
