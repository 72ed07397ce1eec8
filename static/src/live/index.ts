// The entry point for the server's property test: the reducer and the store, without the DOM.
export { applyPatch } from './merge';
export { LiveStore } from './store';
