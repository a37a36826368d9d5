export default function () {
  console.log('a', 1, { b: [true, null] });
  console.warn('careful');
  console.error(new Error('bad'));
}
