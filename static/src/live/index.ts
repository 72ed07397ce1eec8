// What the server's property test imports: the one reducer and the one store, without the DOM.
export { applyPatch } from './merge';
export { LiveStore } from './store';
