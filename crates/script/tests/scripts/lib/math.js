export { greet } from './words.ts';
export const double = (n) => n * 2;
