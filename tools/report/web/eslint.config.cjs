// For ESLint: the scripts of the pages. A page runs chart.js and then one more of them, as a single classic script.
const js = require('@eslint/js');

const MARKUP = ['innerHTML', 'outerHTML', 'insertAdjacentHTML', 'write'];
const BROWSER = 'document window location setTimeout fetch atob innerHeight getSelection ImageData ResizeObserver';

module.exports = [
  js.configs.recommended,
  {
    languageOptions: {
      ecmaVersion: 2022,
      sourceType: 'script',
      globals: Object.fromEntries([...BROWSER.split(' '), 'Chart'].map(name => [name, 'readonly'])),
    },
    linterOptions: {reportUnusedDisableDirectives: 'error'},
    rules: {
      curly: ['error', 'multi-line'],
      eqeqeq: 'error',
      'max-len': ['error', {code: 120}],
      'max-lines': ['error', 500],
      'max-lines-per-function': ['error', 70],
      'no-eval': 'error',
      'no-implied-eval': 'error',
      'no-restricted-properties': ['error', ...MARKUP.map(property =>
        ({property, message: 'A page shows text that nobody trusts: use textContent.'}))],
      'no-shadow': 'error',
      'no-var': 'error',
      'prefer-const': 'error',
      quotes: ['error', 'single', {avoidEscape: true}],
      semi: 'error',
    },
  },
  {
    files: ['**/chart.js'],
    languageOptions: {globals: {Chart: 'off'}},
    rules: {'no-unused-vars': ['error', {varsIgnorePattern: '^Chart$'}], 'max-lines-per-function': 'off'},
  },
];
