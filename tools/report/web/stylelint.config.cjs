// For stylelint: the styles of the pages. A short rule stands on one line.
module.exports = {
  extends: 'stylelint-config-standard',
  rules: {
    'declaration-block-single-line-max-declarations': null,
    'custom-property-empty-line-before': null,
    'rule-empty-line-before': null,
    'no-descending-specificity': null,
    'property-no-vendor-prefix': [true, {ignoreProperties: ['box-decoration-break', 'print-color-adjust']}],
  },
};
