// The toolkit's own random numbers: particle i under seed s reads xoshiro128++ stream (s, i), Box-Muller in float64.
const MASK = (1n << 64n) - 1n;
const GOLDEN = 0x9e3779b97f4a7c15n;
const SECOND = 0xd1b54a32d192ed03n;

const mix = (x, s1, m1, s2, m2, s3) => {
  x = ((x ^ (x >> s1)) * m1) & MASK;
  x = ((x ^ (x >> s2)) * m2) & MASK;
  return x ^ (x >> s3);
};
const splitmix = (x) => mix(x & MASK, 30n, 0xbf58476d1ce4e5b9n, 27n, 0x94d049bb133111ebn, 31n);
const stafford = (x) => mix(x & MASK, 33n, 0xff51afd7ed558ccdn, 29n, 0xc4ceb9fe1a85ec53n, 32n);

// FNV-1a of a tag, which is ASCII.
const fnv = (tag) => [...tag].reduce((found, c) => ((found ^ BigInt(c.charCodeAt(0))) * 0x100000001b3n) & MASK, 0xcbf29ce484222325n);

// The seed of one part of a screen, as the toolkit derives it: no two parts of any two runs share a stream.
export const derived = (seed, ...tags) => tags.reduce((found, tag) => stafford(splitmix(found) ^ fnv(String(tag))), BigInt(seed));

// States of n streams, four rows of n words.
export function streamStates(seed, n) {
  const state = new Uint32Array(4 * n);
  const hashed = splitmix(BigInt(seed));
  for (let i = 0; i < n; i++) {
    const k = BigInt(i);
    const a = splitmix(hashed ^ ((k * GOLDEN) & MASK));
    const b = stafford(hashed + SECOND + k * SECOND);
    state[i] = Number(a & 0xffffffffn);
    state[n + i] = Number(a >> 32n);
    state[2 * n + i] = Number(b & 0xffffffffn);
    state[3 * n + i] = Number(b >> 32n);
  }
  return state;
}

export class Streams {
  constructor(seed, n, states = streamStates(seed, n)) {
    this.n = n;
    this.state = Uint32Array.from(states);
    this.words = new Uint32Array(8);
  }

  // `count` standard normals for every particle that is on: z[k * n + i], in pairs.
  normals(count, z, on) {
    const n = this.n;
    for (let i = 0; i < n; i++) {
      if (!on[i]) continue;
      for (let k = 0; k < count; k += 2) {
        this.draw(i);
        const w = this.words;
        const radius = Math.sqrt(-2 * Math.log(uniform(w[0], w[1])));
        const angle = 2 * Math.PI * uniform(w[2], w[3]);
        z[k * n + i] = radius * Math.cos(angle);
        if (k + 1 < count) z[(k + 1) * n + i] = radius * Math.sin(angle);
      }
    }
  }

  // The next four words of stream i.
  draw(i) {
    const s = this.state, n = this.n;
    let a = s[i], b = s[n + i], c = s[2 * n + i], d = s[3 * n + i];
    for (let k = 0; k < 4; k++) {
      const total = (a + d) | 0;
      this.words[k] = ((total << 7) | (total >>> 25)) + a;
      const t = b << 9;
      c ^= a;
      d ^= b;
      b ^= c;
      a ^= d;
      c ^= t;
      d = (d << 11) | (d >>> 21);
    }
    s[i] = a;
    s[n + i] = b;
    s[2 * n + i] = c;
    s[3 * n + i] = d;
  }
}

const uniform = (high, low) => (high * 1048576 + (low >>> 12)) * 2 ** -52 + 2 ** -53;
