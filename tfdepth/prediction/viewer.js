// What the page does. Coordinates: x right, y down, z forward. A 4x4 matrix is 16 numbers, row by
// row; `a` from `b` is called aFromB. "Space" is what the 3-D view is drawn in: the camera of the
// frame that is shown, or, with the points of several frames, the camera of the first frame.
"use strict";
(() => {

const element = id => document.getElementById(id);
const facts = JSON.parse(element("facts").textContent);
const stored = [...document.querySelectorAll("script.frame")];
const [low, high] = facts.inverseDepthRange;
const STEEP = Math.tan(88 * Math.PI / 180);  // change of log depth per unit of x / z or y / z
const LARGEST_STRETCH = 3;                    // of a point, where the surface is steep
const LEVELS = 3;                            // of the cloud's vertices, by rows and columns
const SLOW_MILLISECONDS = 45;                // a picture
const MOST_POINTS = 1.5e6;                   // of several frames together
const FRAME_MILLISECONDS = 100;              // while it plays

// ---------------------------------------------------------------------------------- matrices

const IDENTITY = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
const multiply = (a, b) => a.map((_, i) => {
  const row = i & ~3, column = i & 3;
  return a[row] * b[column] + a[row + 1] * b[column + 4] + a[row + 2] * b[column + 8] +
      a[row + 3] * b[column + 12];
});
const transform = (m, [x, y, z]) => [0, 4, 8].map(
    row => m[row] * x + m[row + 1] * y + m[row + 2] * z + m[row + 3]);
const invertRigid = m => {
  const [x, y, z] = [m[3], m[7], m[11]];
  return [0, 1, 2].flatMap(column => {
    const [a, b, c] = [m[column], m[column + 4], m[column + 8]];
    return [a, b, c, -(a * x + b * y + c * z)];
  }).concat(0, 0, 0, 1);
};

const worldFromCamera = facts.worldFromCamera;
const firstFromCamera = worldFromCamera &&
    worldFromCamera.map(matrix => multiply(invertRigid(worldFromCamera[0]), matrix));

// ------------------------------------------------------------------------------------ frames

/** A frame's picture, its depths [rows * columns] and the pixels that they belong to. */
async function decode(index) {
  const frame = JSON.parse(stored[index].textContent);
  const picture = new Image();
  picture.src = "data:image/jpeg;base64," + frame.image;
  const [numbers] = await Promise.all([decodeNumbers(frame), picture.decode()]);
  const depth = Float32Array.from(numbers, number => frame.nearest * Math.exp(frame.step * number));
  const [height, width] = frame.size, [rows, columns] = frame.grid;
  const [fx, , cx, , fy, cy] = frame.intrinsics;
  return {name: frame.name, height, width, rows, columns, stride: frame.stride,
          offset: frame.offset, fx, fy, cx, cy, skew: frame.intrinsics[1],
          step: frame.step, numbers, depth, picture};
}

/** Inverts viewer.py's `_encode_depth` up to the whole numbers. */
async function decodeNumbers(frame) {
  const packed = Uint8Array.from(atob(frame.depth), character => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const [rows, columns] = frame.grid, count = rows * columns;
  const numbers = new Uint16Array(count);
  for (let row = 0, i = 0; row < rows; row++) {
    for (let column = 0, sum = 0; column < columns; column++, i++) {
      const signedLast = bytes[i] | bytes[i + count] << 8;
      sum += signedLast >> 1 ^ -(signedLast & 1);
      numbers[i] = sum + (row ? numbers[i - columns] : 0);
    }
  }
  return numbers;
}

/** The point of a place of the grid: [x, y, z] of its camera. */
function unproject(frame, row, column) {
  const z = frame.depth[row * frame.columns + column];
  const y = (frame.offset + row * frame.stride - frame.cy) / frame.fy;
  const x = (frame.offset + column * frame.stride - frame.cx - frame.skew * y) / frame.fx;
  return [x * z, y * z, z];
}

/** The place of the grid next to a pixel of the frame: [row, column]. */
function nearest(frame, x, y) {
  const place = (pixel, count) =>
      Math.max(0, Math.min(count - 1, Math.round((pixel - frame.offset) / frame.stride)));
  return [place(y, frame.rows), place(x, frame.columns)];
}

/** The colours of the grid, RGBA bytes. */
function gridColours(frame) {
  const canvas = document.createElement("canvas");
  canvas.width = frame.columns;
  canvas.height = frame.rows;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.imageSmoothingQuality = "high";
  const start = (frame.offset + 0.5) / frame.stride - 0.5;  // cells before the first, of a border
  context.drawImage(frame.picture, -start, -start, frame.width / frame.stride,
                    frame.height / frame.stride);
  return context.getImageData(0, 0, frame.columns, frame.rows).data;
}

/** Vertices of the cloud, every `thin`-th row and column, without steep places. Every fourth row
 *  and column comes first, then the rest of every second, then the others: `counts` tells how many
 *  there are with these, finest first. */
function buildVertices(frame, thin) {
  const {rows, columns, numbers} = frame, colours = gridColours(frame);
  const places = Math.ceil(rows / thin) * Math.ceil(columns / thin);
  const content = new ArrayBuffer(16 * places);
  const positions = new Float32Array(content), shades = new Uint8Array(content);
  const across = STEEP * frame.stride / frame.fx / frame.step;
  const down = STEEP * frame.stride / frame.fy / frame.step;
  const counts = [];
  let count = 0;
  for (let level = LEVELS - 1; level >= 0; level--) {
    const step = thin << level;
    for (let row = 0; row < rows; row += step) {
      for (let column = 0; column < columns; column += step) {
        if (level < LEVELS - 1 && !(row % (2 * step) || column % (2 * step))) continue;  // there
        const i = row * columns + column, number = numbers[i];
        const steepness = Math.max(
            column ? Math.abs(numbers[i - 1] - number) / across : 0,
            column + 1 < columns ? Math.abs(numbers[i + 1] - number) / across : 0,
            row ? Math.abs(numbers[i - columns] - number) / down : 0,
            row + 1 < rows ? Math.abs(numbers[i + columns] - number) / down : 0);
        if (steepness > 1) continue;
        positions.set(unproject(frame, row, column), 4 * count);
        shades.set(colours.subarray(4 * i, 4 * i + 3), 16 * count + 12);
        // How far the surface reaches along the ray, by how far across: points close its gaps.
        const stretch = Math.min(1, STEEP * steepness / LARGEST_STRETCH);
        shades[16 * count + 15] = 255 * stretch;
        count++;
      }
    }
    counts.unshift(count);
  }
  return {content: content.slice(0, 16 * count), counts, leftOut: places - count,
          spacing: thin * frame.stride / Math.min(frame.fx, frame.fy)};
}

// ---------------------------------------------------------------------------------- pictures

const inWords = depth => `${Number(depth.toPrecision(3))} ${facts.unit}`;

function shade(depth) {
  const place = Math.floor((1 / depth - low) / (high - low) * 256);
  return 3 * Math.max(0, Math.min(255, place));
}

function drawPictures(frame) {
  element("pair").style.setProperty("--ratio", frame.width / frame.height);
  const picture = element("frame");
  picture.width = frame.picture.naturalWidth;
  picture.height = frame.picture.naturalHeight;
  picture.getContext("2d").drawImage(frame.picture, 0, 0);
  const canvas = element("depth");
  canvas.width = frame.columns;
  canvas.height = frame.rows;
  const pixels = new ImageData(frame.columns, frame.rows);
  frame.depth.forEach((depth, i) => {
    const colour = shade(depth);
    for (let k = 0; k < 3; k++) pixels.data[4 * i + k] = facts.palette[colour + k];
    pixels.data[4 * i + 3] = 255;
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  element("name").textContent = frame.name;
  picture.setAttribute("aria-label", `Frame ${frame.name}`);
  canvas.setAttribute("aria-label", `Depth of ${frame.name}, near is bright`);
}

function drawLegend() {
  const canvas = document.querySelector("#legend canvas");
  const pixels = new ImageData(256, 1);
  for (let i = 0; i < 256; i++) {
    pixels.data.set([...facts.palette.slice(3 * i, 3 * i + 3), 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  let labels = [], last = Infinity;  // [depth, share of the bar]
  for (let power = Math.floor(Math.log10(1 / high)); power <= Math.log10(1 / low); power++) {
    for (const digit of [1, 1.5, 2, 3, 5, 7]) {
      const depth = digit * 10 ** power, share = (1 / depth - low) / (high - low);
      if (share < 0 || share > 1 || last - share < 0.08) continue;
      labels.push([depth, share]);
      last = share;
    }
  }
  let digits = 3;
  if (labels.length < 2) {  // so narrow a range that hardly a round number lies in it
    labels = [0.95, 0.5, 0.05].map(share => [1 / (low + share * (high - low)), share]);
    while (digits < 9 && labels[0][0].toPrecision(digits) === labels[2][0].toPrecision(digits)) {
      digits++;
    }
  }
  for (const [depth, share] of labels) {
    const label = document.createElement("span");
    label.textContent = Number(depth.toPrecision(digits));
    label.style.left = `${100 * share}%`;
    element("legend").append(label);
  }
}

// The pixel under the pointer: marked in both pictures and in the cloud, its depth in words.
let pointed = null;
function point(pixel) {
  pointed = pixel;
  for (const mark of document.querySelectorAll(".mark")) {
    mark.hidden = !pixel;
    if (pixel) {
      mark.style.left = `${100 * (pixel[0] + 0.5) / current.width}%`;
      mark.style.top = `${100 * (pixel[1] + 0.5) / current.height}%`;
    }
  }
  let text = "Point at a picture to read depth";
  if (pixel) {
    const [row, column] = nearest(current, ...pixel);
    text = `x ${pixel[0]}, y ${pixel[1]}: depth ` +
        inWords(current.depth[row * current.columns + column]);
  }
  element("reading").textContent = text;
  requestDraw();
}
for (const box of document.querySelectorAll(".picture")) {
  box.addEventListener("pointermove", event => {
    if (!current) return;
    const area = box.getBoundingClientRect();
    const place = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
    point([place((event.clientX - area.left) / area.width, current.width),
           place((event.clientY - area.top) / area.height, current.height)]);
  });
  box.addEventListener("pointerleave", () => current && point(null));
}

// ------------------------------------------------------------------------------- point cloud

const cloud = element("cloud"), lines = element("lines");
const gl = cloud.getContext("webgl", {antialias: false, alpha: false});
let program, places;      // of WebGL
let parts = [];           // of the cloud: {index, vertices, buffer}
const view = {target: [0, 0, 1], yaw: 0, pitch: 0, distance: 1};

const VERTEX_SHADER = `
attribute vec3 position;      // of the camera that saw it
attribute vec4 colour;        // and how steep its surface is
uniform mat4 clip_from_camera;
uniform float size;           // pixels on the screen, times distance, of a point at depth 1
uniform float farthest;
varying vec3 shade;
void main() {
  gl_Position = clip_from_camera * vec4(position, 1.0);
  float stretch = max(1.0, colour.a * ${LARGEST_STRETCH.toFixed(1)});
  gl_PointSize = clamp(size * stretch * position.z / gl_Position.w, 1.5, 40.0);
  if (position.z > farthest) gl_Position = vec4(0.0, 0.0, 2.0, 1.0);  // outside: not drawn
  shade = colour.rgb;
}`;
const FRAGMENT_SHADER = `
precision mediump float;
varying vec3 shade;
void main() { gl_FragColor = vec4(shade, 1.0); }`;

function setUpWebgl() {
  program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX_SHADER],
                                [gl.FRAGMENT_SHADER, FRAGMENT_SHADER]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error("WebGL: " + gl.getProgramInfoLog(program));
  }
  gl.useProgram(program);
  places = {position: gl.getAttribLocation(program, "position"),
            colour: gl.getAttribLocation(program, "colour")};
  for (const name of ["clip_from_camera", "size", "farthest"]) {
    places[name] = gl.getUniformLocation(program, name);
  }
  gl.enableVertexAttribArray(places.position);
  gl.enableVertexAttribArray(places.colour);
  gl.enable(gl.DEPTH_TEST);
  gl.clearColor(0x10 / 255, 0x13 / 255, 0x17 / 255, 1);
}

function addPart(index, vertices) {
  const buffer = gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.bufferData(gl.ARRAY_BUFFER, vertices.content, gl.STATIC_DRAW);
  parts.push({index, vertices, buffer});
}

function clearParts() {
  for (const part of parts) gl.deleteBuffer(part.buffer);
  parts = [];
}

const areSeveral = () => Number(element("points_of").value) > 0;
const cameraFromSpace = () => {
  if (!firstFromCamera) return IDENTITY;
  return areSeveral() ? IDENTITY : invertRigid(firstFromCamera[shown]);
};
const spaceFromCamera = index =>
    firstFromCamera ? multiply(cameraFromSpace(), firstFromCamera[index]) : IDENTITY;

/** Right, down and forward of the view, in space. */
function viewAxes() {
  const [sy, cy, sp, cp] = [Math.sin(view.yaw), Math.cos(view.yaw), Math.sin(view.pitch),
                            Math.cos(view.pitch)];
  return [[cy, 0, -sy], [-sy * sp, cp, -cy * sp], [sy * cp, sp, cy * cp]];
}

function viewFromSpace() {
  const axes = viewAxes();
  const eye = view.target.map((value, i) => value - view.distance * axes[2][i]);
  return axes.flatMap(axis => [...axis, -(axis[0] * eye[0] + axis[1] * eye[1] + axis[2] * eye[2])])
      .concat(0, 0, 0, 1);
}

/** Pixels of the page for a unit of x / z: the first frame fits in, but no view is wider than 106
 *  degrees. */
function focalLength() {
  const [width, height] = [cloud.clientWidth, cloud.clientHeight];
  const fits = Math.min(width * first.fx / first.width, height * first.fy / first.height);
  return Math.max(fits, Math.hypot(width, height) * 0.375);
}

/** Looks from behind the camera at what it sees, or, with several frames, at the whole path. */
function resetView() {
  const ahead = [(first.width / 2 - first.cx) / first.fx, (first.height / 2 - first.cy) / first.fy,
                 1].map(value => value * first.median);
  const places = areSeveral() ? firstFromCamera.flatMap(
      matrix => [[0, 0, 0], ahead].map(each => transform(matrix, each))) : [ahead, ahead];
  const [least, most] = [Math.min, Math.max].map(
      extreme => [0, 1, 2].map(i => places.reduce((kept, each) => extreme(kept, each[i]),
                                                  places[0][i])));
  view.target = least.map((value, i) => (value + most[i]) / 2);
  view.yaw = Math.atan2(ahead[0], ahead[2]) + (areSeveral() ? 0.35 : 0.13);
  view.pitch = Math.atan2(ahead[1], ahead[2]) + (areSeveral() ? 0.35 : 0.09);
  view.distance = areSeveral() ? 0.65 * Math.hypot(...least.map((value, i) => most[i] - value)) :
      1.3 * Math.hypot(...ahead);
  requestDraw();
}

let isRequested = false;
function requestDraw() {
  if (!gl || isRequested) return;
  isRequested = true;
  requestAnimationFrame(() => {
    isRequested = false;
    draw(0);
  });
}

// On a slow machine, fewer and larger points are drawn while the view moves, and all when it rests.
let coarsest = 0, lastMove = 0, restTimer = 0;
function requestMove() {
  if (!gl || isRequested) return;
  isRequested = true;
  clearTimeout(restTimer);
  requestAnimationFrame(now => {
    isRequested = false;
    const passed = now - lastMove;
    if (passed > SLOW_MILLISECONDS && passed < 10 * SLOW_MILLISECONDS) {
      coarsest = Math.min(LEVELS - 1, coarsest + 1);
    }
    lastMove = now;
    draw(coarsest);
    if (coarsest) restTimer = setTimeout(requestDraw, 200);
  });
}

function farthest() {
  const share = Number(element("farthest").value) / 100;
  return share < 1 ? Math.exp(Math.log(1 / high) + share * Math.log(high / low)) : Infinity;
}

/** Draws the cloud, of its points only those of a level and the coarser ones, and the lines. */
function draw(level) {
  if (!current || gl.isContextLost()) return;
  const scale = Math.min(window.devicePixelRatio || 1, 2);
  const [width, height] = [cloud.clientWidth, cloud.clientHeight];
  for (const canvas of [cloud, lines]) {
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  }
  gl.viewport(0, 0, cloud.width, cloud.height);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  const focal = focalLength(), near = 0.01 * view.distance, far = 2000 * view.distance;
  const clipFromView = [2 * focal / width, 0, 0, 0, 0, -2 * focal / height, 0, 0,
                        0, 0, (far + near) / (far - near), -2 * far * near / (far - near),
                        0, 0, 1, 0];
  const fromSpace = viewFromSpace(), limit = farthest();
  gl.uniform1f(places.farthest, Number.isFinite(limit) ? limit : 3e38);
  for (const {index, vertices, buffer} of parts) {
    const clipFromCamera = multiply(clipFromView, multiply(fromSpace, spaceFromCamera(index)));
    const byColumns = clipFromCamera.map((_, i) => clipFromCamera[4 * (i & 3) + (i >> 2)]);
    gl.uniformMatrix4fv(places.clip_from_camera, false, byColumns);
    gl.uniform1f(places.size, 1.25 * vertices.spacing * 2 ** level * focal * scale);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.vertexAttribPointer(places.position, 3, gl.FLOAT, false, 16, 0);
    gl.vertexAttribPointer(places.colour, 4, gl.UNSIGNED_BYTE, true, 16, 12);
    gl.drawArrays(gl.POINTS, 0, vertices.counts[level]);
  }
  drawLines(scale, near);
}

const onScreen = ([x, y, z]) => [cloud.clientWidth / 2 + focalLength() * x / z,
                                 cloud.clientHeight / 2 + focalLength() * y / z];

/** The path, the camera of the frame that is shown, and the pixel under the pointer. */
function drawLines(scale, near) {
  const context = lines.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, cloud.clientWidth, cloud.clientHeight);
  const fromSpace = viewFromSpace();
  const stroke = (points, colour, width) => {  // cut where it passes behind the viewer
    const inView = points.map(each => transform(fromSpace, each));
    context.beginPath();
    for (let i = 1; i < inView.length; i++) {
      let [from, to] = [inView[i - 1], inView[i]];
      if (from[2] < near && to[2] < near) continue;
      const cut = (inside, outside) => {
        const share = (near - inside[2]) / (outside[2] - inside[2]);
        return inside.map((value, k) => value + share * (outside[k] - value));
      };
      if (from[2] < near) from = cut(to, from);
      if (to[2] < near) to = cut(from, to);
      context.moveTo(...onScreen(from));
      context.lineTo(...onScreen(to));
    }
    context.lineCap = "round";
    context.strokeStyle = "rgba(0, 0, 0, 0.55)";  // seen on any colour
    context.lineWidth = width + 2;
    context.stroke();
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
  };
  if (firstFromCamera) {
    const centres = firstFromCamera.map((_, i) => transform(spaceFromCamera(i), [0, 0, 0]));
    stroke(centres.slice(shown), "#8d99a6", 2);
    stroke(centres.slice(0, shown + 1), "#56b4e9", 2.5);
  }
  const fromCamera = spaceFromCamera(shown), depth = (areSeveral() ? 0.12 : 0.06) * first.median;
  const corner = (x, y) => transform(fromCamera, [
    depth * (x - current.cx) / current.fx, depth * (y - current.cy) / current.fy, depth]);
  const [right, bottom] = [current.width - 0.5, current.height - 0.5];
  const corners = [corner(-0.5, -0.5), corner(right, -0.5), corner(right, bottom),
                   corner(-0.5, bottom)];
  const centre = transform(fromCamera, [0, 0, 0]);
  stroke([...corners, corners[0]], "#e69f00", 1.5);
  for (const each of corners) stroke([centre, each], "#e69f00", 1.5);
  if (pointed) {
    const inView = transform(multiply(fromSpace, fromCamera),
                             unproject(current, ...nearest(current, ...pointed)));
    if (inView[2] > near) {
      for (const [colour, width] of [["#000", 4], ["#fff", 2]]) {
        context.beginPath();
        context.arc(...onScreen(inView), 7, 0, 2 * Math.PI);
        context.strokeStyle = colour;
        context.lineWidth = width;
        context.stroke();
      }
    }
  }
}

// ------------------------------------------------------------------ turning, moving, zooming

function turn(right, down) {
  view.yaw += right;
  view.pitch = Math.max(-1.55, Math.min(1.55, view.pitch + down));
  requestMove();
}

function move(right, down) {  // pixels
  const [rightwards, downwards] = viewAxes(), size = view.distance / focalLength();
  view.target = view.target.map(
      (value, i) => value - size * (right * rightwards[i] + down * downwards[i]));
  requestMove();
}

function zoom(factor) {
  view.distance *= factor;
  requestMove();
}

const pointers = new Map();  // that are down, by id: [x, y]
cloud.addEventListener("pointerdown", event => {
  cloud.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
});
cloud.addEventListener("pointermove", event => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const now = [event.clientX, event.clientY], [right, down] = now.map((v, i) => v - before[i]);
  pointers.set(event.pointerId, now);
  if (pointers.size === 2) {
    const [[, other]] = [...pointers].filter(([id]) => id !== event.pointerId);
    const apart = place => Math.max(1, Math.hypot(place[0] - other[0], place[1] - other[1]));
    zoom(apart(before) / apart(now));
    move(right / 2, down / 2);
  } else if (event.shiftKey || event.buttons & 6) {
    move(right, down);
  } else {
    turn(0.005 * right, 0.005 * down);
  }
});
for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) {
  cloud.addEventListener(type, event => pointers.delete(event.pointerId));
}
cloud.addEventListener("wheel", event => {
  event.preventDefault();
  zoom(Math.exp((event.deltaMode ? 30 : 1) * 0.001 * event.deltaY));
}, {passive: false});
cloud.addEventListener("contextmenu", event => event.preventDefault());
cloud.addEventListener("dblclick", resetView);
cloud.addEventListener("keydown", event => {
  const actions = {
    a: () => turn(-0.1, 0), d: () => turn(0.1, 0), w: () => turn(0, -0.1), s: () => turn(0, 0.1),
    "+": () => zoom(0.85), "=": () => zoom(0.85), "-": () => zoom(1 / 0.85), 0: resetView};
  if (!event.ctrlKey && !event.metaKey && actions[event.key]) actions[event.key]();
});
cloud.addEventListener("webglcontextlost", event => event.preventDefault());
cloud.addEventListener("webglcontextrestored", () => {
  setUpWebgl();
  const lost = parts;
  parts = [];
  for (const part of lost) addPart(part.index, part.vertices);
  requestDraw();
});

// -------------------------------------------------------------------------------------- plan

let movePlan = () => {};  // to the frame that is shown
function drawPlan() {
  const [width, height, left, bottom, spare] = [320, 440, 46, 42, 16];
  const centres = firstFromCamera.map(matrix => [matrix[3], matrix[11]]);
  const ends = [0, 1].map(i => [Math.min, Math.max].map(
      extreme => centres.reduce((kept, each) => extreme(kept, each[i]), 0)));
  const extent = Math.max(1.25 * Math.max((ends[0][1] - ends[0][0]) / (width - left - spare),
                                          (ends[1][1] - ends[1][0]) / (height - bottom - spare)),
                          1e-9);  // units a pixel
  const middle = ends.map(([least, most]) => (least + most) / 2);
  const centre = [(left + width - spare) / 2, (spare + height - bottom) / 2];
  const across = x => centre[0] + (x - middle[0]) / extent;
  const up = z => centre[1] - (z - middle[1]) / extent;
  const svg = create("svg", {viewBox: `0 0 ${width} ${height}`, role: "img",
                             "aria-label": "The path of the camera from above"});
  function create(name, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }
  const rough = extent * 80, power = 10 ** Math.floor(Math.log10(rough));
  const tick = power * [1, 2, 5, 10].find(digit => digit * power >= rough * 0.999);
  const ticks = (from, to) => {
    const found = [];
    for (let k = Math.ceil(from / tick); k * tick <= to; k++) found.push(k * tick);
    return found;
  };
  const inTicks = value => Number(value.toPrecision(6));
  for (const x of ticks(middle[0] - (centre[0] - left) * extent,
                        middle[0] + (centre[0] - left) * extent)) {
    svg.append(create("line", {class: "grid", x1: across(x), x2: across(x), y1: spare,
                               y2: height - bottom}),
               create("text", {x: across(x), y: height - bottom + 14, "text-anchor": "middle"},
                      inTicks(x)));
  }
  for (const z of ticks(middle[1] - (centre[1] - spare) * extent,
                        middle[1] + (centre[1] - spare) * extent)) {
    svg.append(create("line", {class: "grid", x1: left, x2: width - spare, y1: up(z), y2: up(z)}),
               create("text", {x: left - 5, y: up(z) + 4, "text-anchor": "end"}, inTicks(z)));
  }
  svg.append(create("text", {x: centre[0], y: height - 8, "text-anchor": "middle"},
                    `x, right, ${facts.unit}`),
             create("text", {x: 12, y: centre[1], "text-anchor": "middle",
                             transform: `rotate(-90 12 ${centre[1]})`},
                    `z, forward, ${facts.unit}`));
  const polyline = points => points.map(([x, z]) => `${across(x)},${up(z)}`).join(" ");
  const done = create("polyline", {class: "done"});
  const camera = create("path", {class: "camera", d: "M0,-11 L7,7 L0,3 L-7,7 Z"});
  svg.append(create("polyline", {class: "path", points: polyline(centres)}), done, camera);
  movePlan = () => {
    const matrix = firstFromCamera[shown];
    done.setAttribute("points", polyline(centres.slice(0, shown + 1)));
    const heading = Math.atan2(matrix[2], matrix[10]) * 180 / Math.PI;
    camera.setAttribute("transform", `translate(${polyline([centres[shown]])}) rotate(${heading})`);
  };
  element("plan").append(svg);
  element("plan").hidden = false;
}

// ---------------------------------------------------------------------------- what is shown

let first = null, current = null;  // decoded frames
let shown = -1, wanted = 0, isLoading = false;

/** Shows a frame; when several are asked for meanwhile, the last of them. */
async function show(index) {
  wanted = Math.max(0, Math.min(stored.length - 1, index));
  if (isLoading) return;
  isLoading = true;
  try {
    while (shown !== wanted) {
      const next = wanted;
      current = await decode(next);
      shown = next;
      if (!first) {
        first = current;
        first.median = [...first.depth].sort((a, b) => a - b)[first.depth.length >> 1];
      }
      drawPictures(current);
      movePlan();
      point(pointed && pointed[0] < current.width && pointed[1] < current.height ? pointed : null);
      const place = `Frame ${next + 1} of ${stored.length}`;
      element("slider").value = next;
      element("slider").setAttribute("aria-valuetext", `${place}, ${current.name}`);
      element("place").textContent = place;
      if (gl && !areSeveral()) {
        clearParts();
        addPart(next, buildVertices(current, 1));
        tellCount();
      }
    }
  } finally {
    isLoading = false;
  }
}

function tellCount() {
  const sum = count => parts.reduce((total, {vertices}) => total + count(vertices), 0)
      .toLocaleString("en");
  element("count").textContent = `${sum(vertices => vertices.counts[0])} points, ` +
      `${sum(vertices => vertices.leftOut)} left out`;
}

let pointsAsked = 0;
/** Fills the cloud with the points of this frame, or of every k-th. */
async function choosePoints() {
  const asked = ++pointsAsked, every = Number(element("points_of").value);
  clearParts();
  element("count").textContent = "";
  resetView();
  if (!every) {
    addPart(shown, buildVertices(current, 1));
  } else {
    const chosen = stored.map((_, index) => index).filter(index => index % every === 0);
    const thin = Math.ceil(Math.sqrt(chosen.length * first.depth.length / MOST_POINTS));
    for (const index of chosen) {
      const vertices = buildVertices(await decode(index), thin);
      if (asked !== pointsAsked) return;  // something else was chosen
      addPart(index, vertices);
      element("count").textContent = `frame ${parts.length} of ${chosen.length} ...`;
      requestDraw();
    }
  }
  tellCount();
}

let isPlaying = false;
async function play(start) {
  if (start === isPlaying) return;
  isPlaying = start;
  element("play").textContent = start ? "Pause" : "Play";
  while (isPlaying) {
    const next = performance.now() + FRAME_MILLISECONDS;
    await show((shown + 1) % stored.length);
    await new Promise(resolve => setTimeout(resolve, Math.max(0, next - performance.now())));
  }
}

// ---------------------------------------------------------------------------------- controls

function tell(problem) {
  element("problem").textContent = problem;
  element("problem").hidden = false;
}
addEventListener("error", event => tell(`The page failed: ${event.message}`));
addEventListener("unhandledrejection", event => tell(`The page failed: ${event.reason}`));

element("slider").max = stored.length - 1;
element("slider").addEventListener("input", event => show(Number(event.target.value)));
element("play").addEventListener("click", () => play(!isPlaying));
element("reset").addEventListener("click", resetView);
element("points_of").addEventListener("change", choosePoints);
const tellFarthest = () => {
  element("farthest_value").textContent = Number.isFinite(farthest()) ? inWords(farthest()) : "all";
  requestDraw();
};
element("farthest").addEventListener("input", tellFarthest);
addEventListener("resize", requestDraw);
addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || stored.length < 2 ||
      event.target.matches("select, input")) return;
  if (event.key === "ArrowLeft") show(wanted - 1);
  else if (event.key === "ArrowRight") show(wanted + 1);
  else if (event.key === " " && !event.target.matches("button")) play(!isPlaying);
  else return;
  event.preventDefault();
});

async function start() {
  if (typeof DecompressionStream === "undefined") {
    tell("This browser is too old for the page: it needs Chrome 80, Firefox 113, Safari 16.4 or " +
         "later.");
    return;
  }
  element("unit").textContent = facts.unit;
  element("transport").hidden = element("frame_hint").hidden = stored.length < 2;
  drawLegend();
  if (firstFromCamera && stored.length > 1) {
    drawPlan();
    for (const every of [1, 2, 5, 10, 20, 50, 100].filter(every => every < stored.length)) {
      const text = every > 1 ? `every ${every}${every === 2 ? "nd" : "th"} frame` : "all frames";
      element("points_of").append(new Option(text, every));
    }
    element("of").hidden = false;
  }
  if (gl) setUpWebgl();
  for (const id of ["controls", "hints"]) element(id).hidden = !gl;
  cloud.hidden = lines.hidden = !gl;
  element("no_cloud").hidden = Boolean(gl);
  if (!gl) element("stage").style.height = "auto";
  await show(0);
  const sizes = `${first.width} × ${first.height}`;
  element("about").textContent = stored.length > 1 ? `${stored.length} frames, ${sizes}` : sizes;
  if (gl) {
    tellFarthest();
    resetView();
  }
}

// For the console: where things are.
window.tfdepthViewer = {
  ready: start(),
  show,
  /** The point of a pixel: {camera, world}, world without a trajectory null. */
  async point(index, x, y) {
    const frame = await decode(index);
    const camera = unproject(frame, ...nearest(frame, x, y));
    return {camera, world: worldFromCamera && transform(worldFromCamera[index], camera)};
  },
  /** Where that point is in the picture of the cloud: [right, down], pixels of the page. */
  async project(index, x, y) {
    const {camera} = await this.point(index, x, y);
    return onScreen(transform(multiply(viewFromSpace(), spaceFromCamera(index)), camera));
  }
};

})();
