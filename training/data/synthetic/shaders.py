"""The two small programs that the graphics pipeline runs: where a vertex goes, and what colour a pixel has.

Light is computed in linear RGB in the camera's frame. Skin is wrapped Lambert with a Blinn-Phong gloss.
"""

from __future__ import annotations

from typing import Final

VERTEX: Final = """
#version 330
uniform mat3 turn;
uniform vec3 offset;        // cm, head to camera
uniform vec2 shift;         // clip units, y down
uniform float focal2;       // 2 * focal length over the side
uniform vec2 near_far;      // cm
in vec3 in_position;
in vec3 in_normal;
in vec3 in_place;
in vec4 in_paint;           // brow, lip, hair, lid: cm; of a plain prop, its colour
in float in_shade;          // how open to light from everywhere, 0..1
in float in_material;
out vec3 normal;
out vec3 seen;              // cm, camera frame
out vec3 place;
out vec4 paint;
out float shade;
flat out int material;
void main() {
    seen = turn * in_position + offset;
    normal = turn * in_normal;
    place = in_place;
    paint = in_paint;
    shade = in_shade;
    material = int(in_material + 0.5);
    float depth = -seen.z;
    float n = near_far.x, f = near_far.y;
    // What is inside the mouth is sorted a little further back: some expressions push it through lips and chin.
    float sorted = depth + (material >= 1 && material <= 3 ? 0.8 : 0.0);
    // y is turned over: the first row read back is the picture's top
    gl_Position = vec4(focal2 * seen.x + shift.x * depth, -focal2 * seen.y + shift.y * depth,
                       depth * ((f + n) / (f - n) - 2.0 * f * n / ((f - n) * sorted)), depth);
}
"""

FRAGMENT: Final = """
#version 330
uniform sampler3D noise;    // smooth values around 0.5, repeating
uniform vec3 noise_place;
uniform vec3 skin, lips, iris, hair, brows;
uniform vec2 brow;          // half width in cm, strength
uniform float lash, beard, blotches, freckles, blush, gloss;
uniform vec3 lamp, lamp_colour, sky, ground;  // light times exposure
in vec3 normal;
in vec3 seen;
in vec3 place;
in vec4 paint;
in float shade;
flat in int material;
out vec4 colour;

// Lookups are what this costs in software, so each is used for several things.
float at(vec3 p) { return texture(noise, p / 32.0 + noise_place).r - 0.5; }  // one cell per unit

vec3 strands(vec3 base, float fine, float coarse) { return base * clamp(1.0 + 1.8 * fine + 0.8 * coarse, 0.25, 2.2); }

vec3 skin_at(vec3 p, float coarse, float middle, float fine) {
    vec3 c = skin * (1.0 + blotches * (coarse + 0.5 * middle - 0.2 * fine));
    c *= mix(vec3(1.0), vec3(0.55, 0.42, 0.35), freckles * smoothstep(0.12, 0.3, middle) * step(2.0, p.z));
    vec2 cheek = vec2(abs(p.x) - 5.0, p.y + 0.5);
    vec3 nose = p - vec3(0.0, -0.5, 12.5);
    c *= mix(vec3(1.0), vec3(1.0, 0.75, 0.75), blush * max(exp(-dot(cheek, cheek) / 6.0), exp(-dot(nose, nose) / 2.5)));
    float chin = length(vec2(p.x / 8.2, (p.y + 6.0) / 4.8));
    float bearded = smoothstep(1.1, 0.75, chin + 0.3 * middle) * step(-1.0, p.z);
    float moustache = smoothstep(1.0, 0.7, length(vec2(p.x / 3.4, (p.y + 2.7) / 0.9))) * step(8.0, p.z);
    c = mix(c, strands(brows, fine, middle), min(beard * max(bearded, moustache), 0.92));
    c = mix(c, lips * (1.0 + 0.25 * fine), smoothstep(-0.05, 0.12, paint.y + 0.06 * middle));
    c *= 1.0 - lash * smoothstep(0.32, 0.08, paint.w);
    float browed = smoothstep(1.0, 0.55, paint.x / brow.x + 0.4 * fine + 0.3 * middle);
    c = mix(c, strands(brows, fine, middle), brow.y * browed);
    float grown = smoothstep(-0.1, 0.5, paint.z + 0.8 * fine + 0.4 * coarse);
    return mix(c, strands(hair, fine, coarse), grown);
}

vec3 eye_at(vec3 p, float ray) {
    float from_axis = degrees(acos(clamp(normalize(p).z, -1.0, 1.0)));
    vec3 white = mix(vec3(0.55, 0.51, 0.49), vec3(0.45, 0.25, 0.22), smoothstep(35.0, 75.0, from_axis));
    vec3 c = iris * (1.0 + 0.9 * ray);
    c *= mix(0.45, 1.0, smoothstep(23.5, 20.0, from_axis));  // the dark ring around the iris
    c = mix(vec3(0.004), c, smoothstep(8.0, 10.0, from_axis));
    return mix(c, white, smoothstep(22.5, 24.5, from_axis));
}

void main() {
    vec3 n = normalize(normal), to_eye = normalize(-seen);
    if (material == 1 && dot(n, to_eye) < 0.0) discard;  // a socket is seen from inside only
    if (material != 0 && dot(n, to_eye) < 0.0) n = -n;
    vec3 base = paint.rgb;  // of a plain prop
    float shine = gloss * (0.3 + skin.g), sharp = 24.0, wrap = 0.2, open = shade;
    float coarse = at(place * 0.7), middle = at(place * 3.7);
    // Along hair; on an eye, the rays of the iris.
    float fine = at(material == 4 ? vec3(atan(place.y, place.x) * 6.0, 0.0, 3.0) : place * vec3(9.0, 1.6, 9.0));
    if (material == 0) base = skin_at(place, coarse, middle, fine);
    else if (material == 1) base = vec3(0.16, 0.035, 0.03) * smoothstep(2.0, 10.0, place.z);
    else if (material == 2) { base = vec3(0.34, 0.10, 0.09) * smoothstep(2.0, 9.0, place.z); open = max(open, 0.35); }
    else if (material == 3) { base = vec3(0.52, 0.46, 0.37) * smoothstep(4.5, 9.5, place.z); open = max(open, 0.6); }
    else if (material == 4) { base = eye_at(place, fine); shine = 0.9; sharp = 160.0; wrap = 0.4; }
    else if (material == 5) base = mix(skin, vec3(0.5, 0.18, 0.16), 0.6);
    else if (material == 7) { base = strands(hair, fine, coarse); shine *= 0.3; }
    float lit = max(0.0, (dot(n, lamp) + wrap) / (1.0 + wrap)) * mix(0.35, 1.0, open);
    vec3 around = mix(ground, sky, 0.5 + 0.5 * n.y) * open;
    float high = pow(max(0.0, dot(n, normalize(lamp + to_eye))), sharp) * shine * open;
    vec3 light = base * (lit * lamp_colour + around) + high * lamp_colour;
    // Highlights roll off instead of clipping; then sRGB's curve, nearly.
    light = mix(light, 1.0 - 0.3 * exp(-(light - 0.7) / 0.3), step(0.7, light));
    colour = vec4(pow(light, vec3(1.0 / 2.2)), 1.0);
}
"""
