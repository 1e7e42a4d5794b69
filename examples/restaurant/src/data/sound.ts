// Sounds without files. Browsers allow them after the first touch of the page.

let context: AudioContext | undefined;

addEventListener('pointerdown', () => {
  context ??= new AudioContext();
  void context.resume();
});

function note(frequency: number, after: number, length: number): void {
  if (!context || context.state !== 'running') {
    return;
  }
  const start = context.currentTime + after;
  const oscillator = new OscillatorNode(context, { frequency, type: 'triangle' });
  const volume = new GainNode(context, { gain: 0 });
  volume.gain.setValueAtTime(0, start);
  volume.gain.linearRampToValueAtTime(0.5, start + 0.01);
  volume.gain.exponentialRampToValueAtTime(0.001, start + length);
  oscillator.connect(volume).connect(context.destination);
  oscillator.start(start);
  oscillator.stop(start + length);
}

/** Something new: two notes up. */
export function chime(): void {
  note(880, 0, 0.4);
  note(1_175, 0.15, 0.6);
}

/** Something is late: two low notes. */
export function alarm(): void {
  note(330, 0, 0.35);
  note(330, 0.4, 0.5);
}
