import { describe, expect, it } from 'vitest';
import { applyPatch, type Json } from './merge';

// RFC 7396, appendix A: original, patch, result.
const examples: [Json, Json, Json][] = [
  [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
  [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
  [{ a: 'b' }, { a: null }, {}],
  [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
  [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
  [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
  [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
  [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
  [['a', 'b'], ['c', 'd'], ['c', 'd']],
  [{ a: 'b' }, ['c'], ['c']],
  [{ a: 'foo' }, null, null],
  [{ a: 'foo' }, 'bar', 'bar'],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: 'b', c: null }, { a: 'b' }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
];

describe('applyPatch', () => {
  it.each(examples)('%j with %j is %j', (target, patch, result) => {
    expect(applyPatch(target, patch)).toEqual(result);
  });

  it('gives the example of section 3', () => {
    const target = {
      title: 'Goodbye!',
      author: { givenName: 'John', familyName: 'Doe' },
      tags: ['example', 'sample'],
      content: 'This will be unchanged',
    };
    const patch = { title: 'Hello!', phoneNumber: '+01-123-456-7890', author: { familyName: null }, tags: ['example'] };
    expect(applyPatch(target, patch)).toEqual({
      title: 'Hello!',
      author: { givenName: 'John' },
      tags: ['example'],
      content: 'This will be unchanged',
      phoneNumber: '+01-123-456-7890',
    });
  });

  it('mutates neither argument and shares the parts that the patch does not name', () => {
    const target = Object.freeze({ kept: Object.freeze({ deep: 1 }), changed: Object.freeze({ deep: 1 }) });
    const result = applyPatch(target, Object.freeze({ changed: Object.freeze({ deep: 2 }) })) as typeof target;
    expect(result.kept).toBe(target.kept);
    expect(result.changed).toEqual({ deep: 2 });
    expect(target.changed).toEqual({ deep: 1 });
  });

  it('treats a key named __proto__ as data', () => {
    const patch = JSON.parse('{"__proto__":{"admin":true}}') as Json;
    const result = applyPatch({}, patch) as Record<string, Json>;
    expect(result.admin).toBeUndefined();
    expect(JSON.stringify(result)).toBe('{"__proto__":{"admin":true}}');
  });
});
